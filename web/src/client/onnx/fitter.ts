/** Local training with a graph. */

import { equal } from "../../graphs/agreement.ts";
import { OF_A_STEP, type Signature } from "../../graphs/signature.ts";
import type { LocalTraining } from "../../training.ts";
import type { Bytes, Fit, Model, Vector } from "../../types.ts";
import { represented, shown, tuple } from "../../wording.ts";
import { Draws } from "../draws.ts";
import { type AnySamples, checkModel, count, epochs, finite, unfit } from "../fitting.ts";
import type { Options, Where } from "../trainer.ts";
import type { Form } from "./form.ts";
import { firstLine, type Open, type Session } from "./session.ts";
import { Steps } from "./steps.ts";

/** Trains copies of models. The graph is loaded when it is first used. */
export class Fitter {
  /** What the graph has, by the names of `Trainer.supports`. */
  readonly supports: ReadonlySet<string>;
  readonly #content: Bytes;
  readonly #signature: Signature;
  readonly #form: Form;
  readonly #open: Open;
  #session: Session | undefined;

  constructor(content: Bytes, signature: Signature, form: Form, open: Open) {
    this.#content = content;
    this.#signature = signature;
    this.#form = form;
    this.#open = open;
    const corrected = signature.inputs.has("correction") ? ["correction"] : [];
    this.supports = new Set([...(signature.local?.needs ?? []), "max_steps", ...corrected]);
  }

  /** As `Trainer.fit`. */
  async fit(model: Model, data: AnySamples, local: LocalTraining, where: Where, options: Options = {}): Promise<Fit> {
    const who = `client ${represented(where.client)}, round ${where.round}`, { correction } = options;
    this.#form.check(data, who);
    this.#check(local, correction, who);
    checkModel(model, this.#signature.layout);
    this.#session ??= await this.#open(this.#content, this.#signature);
    const rate = local.learningRateAt(where.round), number = count(data), draws = new Draws(where);
    const round = new Steps(this.#session, this.#signature).begin(model, rate, correction);
    let total = 0, seen = 0;
    for (const batches of epochs(number, local, where)) {
      for (const index of batches) {
        const loss = await round.step(data, index, draws).catch((error: unknown) => {
          throw unfit(firstLine(error), who, data, index);
        });
        total += loss * index.length;
        seen += index.length;
      }
    }
    const delta = round.value("parameters").map((value, k) => value - model.parameters[k]);
    const metrics = new Map([["loss", total / seen]]);
    return finite({ delta, buffers: round.value("buffers"), numExamples: number, metrics }, who, rate);
  }

  /** Free the graph; it is loaded again when it is needed. */
  async release(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.release();
  }

  /** Throw `RangeError` if training is not what the graph does. */
  #check(local: LocalTraining, correction: Vector | undefined, who: string): void {
    for (const name of OF_A_STEP) {
      const given = local.fields[name], told = this.#signature.local?.fields[name];
      if (equal(given, told)) continue;
      throw new RangeError(
        `${who}: ${name} is ${shown(given)}, and the graph was exported with ${shown(told)}; train with that, or export`
          + " it again",
      );
    }
    const more = [...local.needs].filter((name) => !this.supports.has(name)).sort();
    if (more.length) {
      throw new RangeError(
        `${who}: training needs ${more.join(", ")}, which no graph has; leave it out, or train with torch`,
      );
    }
    if (correction === undefined) return;
    if (!this.supports.has("correction")) {
      throw new RangeError(`${who}: the graph takes no correction of its gradients; export it for this strategy`);
    }
    const size = this.#signature.layout.dimension;
    if (correction.length === size) return;
    throw new RangeError(
      `${who}: correction is an array of shape ${tuple([correction.length])}; it must have the shape ${tuple([size])}`,
    );
  }
}
