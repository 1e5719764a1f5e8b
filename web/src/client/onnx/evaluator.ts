/** Evaluation of models with a graph. */

import { SUM } from "../../graphs/signature.ts";
import { type Model, product, type Vector } from "../../types.ts";
import { Draws } from "../draws.ts";
import { type AnySamples, checkModel, count, unfit } from "../fitting.ts";
import { Form } from "./form.ts";
import type { Kept } from "./kept.ts";
import { firstLine } from "./session.ts";
import { type Measured, Measures, totals } from "./steps.ts";

/** Evaluates models. The graph is loaded when it is first used. */
export class Evaluator {
  /** The samples that it takes. */
  readonly form: Form;
  readonly #graph: Kept;

  constructor(graph: Kept) {
    this.form = new Form(graph.signature);
    this.#graph = graph;
  }

  /** As `Trainer.evaluate`. */
  async evaluate(model: Model, data: AnySamples): Promise<Map<string, number>> {
    const who = "evaluation", found = totals(this.#graph.signature), number = count(data);
    this.form.check(data, who);
    await this.#measure(model, data, who, ({ samples, found: outputs }) => {
      for (const [name, total] of found) {
        const [value] = outputs.get(name === "loss" ? name : `${SUM}${name}`) as Vector;
        found.set(name, total + (name === "loss" ? Number(value) * samples : Number(value)));
      }
    });
    return new Map([...found].map(([name, total]) => [name, total / number]));
  }

  /** A model's outputs for samples, one after another. Throws `RangeError` if there are none. */
  async outputs(model: Model, inputs: AnySamples["inputs"], shape: readonly number[]): Promise<Vector> {
    const who = "prediction", data = this.form.withoutTargets(inputs, shape);
    const port = this.#graph.signature.outputs.get("outputs");
    if (port === undefined) throw new RangeError("the graph gives no outputs, since the model's are no single tensor");
    this.form.check(data, who);
    const size = product(port.shape.slice(1)), found = new Float32Array(count(data) * size);
    let at = 0;
    await this.#measure(model, data, who, ({ samples, found: outputs }) => {
      found.set((outputs.get("outputs") as Vector).subarray(0, samples * size), at);
      at += samples * size;
    });
    return found;
  }

  async #measure(model: Model, data: AnySamples, who: string, take: (batch: Measured) => void): Promise<void> {
    checkModel(model, this.#graph.signature.layout);
    await this.#graph.use(async (session) => {
      const measures = new Measures(session, this.#graph.signature);
      const draws = new Draws({ seed: 0n, round: 0, client: "" });
      try {
        for await (const batch of measures.measure(model, data, draws)) take(batch);
      } catch (error) {
        throw unfit(firstLine(error), who, data);
      }
    });
  }
}
