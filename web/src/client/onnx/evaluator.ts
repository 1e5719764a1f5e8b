/** Evaluation of models with a graph. */

import { type Signature, SUM } from "../../graphs/signature.ts";
import type { Bytes, Model, Vector } from "../../types.ts";
import { Draws } from "../draws.ts";
import { type AnySamples, checkModel, count, unfit } from "../fitting.ts";
import { Form } from "./form.ts";
import { firstLine, type Open, type Session } from "./session.ts";
import { type Measured, Measures, totals } from "./steps.ts";

/** Evaluates models. The graph is loaded when it is first used. */
export class Evaluator {
  /** The samples that it takes. */
  readonly form: Form;
  readonly #content: Bytes;
  readonly #signature: Signature;
  readonly #open: Open;
  #session: Session | undefined;

  constructor(content: Bytes, signature: Signature, open: Open) {
    this.form = new Form(signature);
    this.#content = content;
    this.#signature = signature;
    this.#open = open;
  }

  /** As `Trainer.evaluate`. */
  async evaluate(model: Model, data: AnySamples): Promise<Map<string, number>> {
    const who = "evaluation", found = totals(this.#signature), number = count(data);
    this.form.check(data, who);
    for await (const { samples, found: outputs } of this.#measured(model, data, who)) {
      for (const [name, total] of found) {
        const [value] = outputs.get(name === "loss" ? name : `${SUM}${name}`) as Vector;
        found.set(name, total + (name === "loss" ? Number(value) * samples : Number(value)));
      }
    }
    return new Map([...found].map(([name, total]) => [name, total / number]));
  }

  /** A model's outputs for samples, one after another. Throws `RangeError` if there are none. */
  async outputs(model: Model, inputs: AnySamples["inputs"], shape: readonly number[]): Promise<Vector> {
    const who = "prediction", data = this.form.withoutTargets(inputs, shape);
    const port = this.#signature.outputs.get("outputs");
    if (port === undefined) throw new RangeError("the graph gives no outputs, since the model's are no single tensor");
    this.form.check(data, who);
    const size = port.shape.slice(1).reduce((all, side) => all * side, 1), found = new Float32Array(count(data) * size);
    let at = 0;
    for await (const { samples, found: outputs } of this.#measured(model, data, who)) {
      found.set((outputs.get("outputs") as Vector).subarray(0, samples * size), at);
      at += samples * size;
    }
    return found;
  }

  /** Free the graph; it is loaded again when it is needed. */
  async release(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    await session?.release();
  }

  async *#measured(model: Model, data: AnySamples, who: string): AsyncGenerator<Measured> {
    checkModel(model, this.#signature.layout);
    this.#session ??= await this.#open(this.#content, this.#signature);
    const measures = new Measures(this.#session, this.#signature);
    try {
      yield* measures.measure(model, data, new Draws({ seed: 0n, round: 0, client: "" }));
    } catch (error) {
      throw unfit(firstLine(error), who, data);
    }
  }
}
