/** Local training with a graph. */

import { equal } from "../../graphs/agreement.ts";
import { OF_A_STEP, type Signature } from "../../graphs/signature.ts";
import type { LocalTraining } from "../../training.ts";
import type { Fit, Model, Vector } from "../../types.ts";
import { represented, shown, tuple } from "../../wording.ts";
import { Draws } from "../draws.ts";
import { type AnySamples, checkModel, count, epochs, finite, unfit } from "../fitting.ts";
import type { Options, Where } from "../trainer.ts";
import type { Form } from "./form.ts";
import type { Kept } from "./kept.ts";
import { firstLine } from "./session.ts";
import { Steps } from "./steps.ts";

/** Trains copies of models. The graph is loaded when it is first used. */
export class Fitter {
  /** What the graph has, by the names of `Trainer.supports`. */
  readonly supports: ReadonlySet<string>;
  readonly #graph: Kept;
  readonly #signature: Signature;
  readonly #form: Form;

  constructor(graph: Kept, form: Form) {
    const { signature } = graph;
    this.#graph = graph;
    this.#signature = signature;
    this.#form = form;
    const corrected = signature.inputs.has("correction") ? ["correction"] : [];
    this.supports = new Set([...(signature.local?.needs ?? []), "max_steps", ...corrected]);
  }

  /** As `Trainer.fit`. */
  async fit(model: Model, data: AnySamples, local: LocalTraining, where: Where, options: Options = {}): Promise<Fit> {
    const who = `client ${represented(where.client)}, round ${where.round}`, { correction } = options;
    this.#form.check(data, who);
    this.#check(local, correction, who);
    checkModel(model, this.#signature.layout);
    return await this.#graph.use(async (session) => {
      const rate = local.learningRateAt(where.round);
      const steps = new Steps(session, this.#signature, model, rate, correction);
      const metrics = new Map([["loss", await trained(steps, data, local, where, who)]]);
      const delta = steps.value("parameters").map((value, k) => value - model.parameters[k]);
      return finite({ delta, buffers: steps.value("buffers"), numExamples: count(data), metrics }, who, rate);
    });
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

/** Train in all steps of a round; the mean loss. */
async function trained(
  steps: Steps, data: AnySamples, local: LocalTraining, where: Where, who: string,
): Promise<number> {
  const draws = new Draws(where);
  let total = 0, seen = 0;
  for (const batches of epochs(count(data), local, where)) {
    for (const index of batches) {
      const loss = await steps.step(data, index, draws).catch((error: unknown) => {
        throw unfit(firstLine(error), who, data, index);
      });
      total += loss * index.length;
      seen += index.length;
    }
  }
  return total / seen;
}
