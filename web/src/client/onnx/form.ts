/** The samples that a graph takes. */

import { CROSS_ENTROPY, type Port, type Signature } from "../../graphs/signature.ts";
import { same } from "../../graphs/values.ts";
import { product } from "../../types.ts";
import { tuple } from "../../wording.ts";
import { type AnySamples, checkProbabilities, checkSamples, dtypeOf, unfit } from "../fitting.ts";
import { type Values, zeros } from "./session.ts";

/** A target that cross entropy leaves out, as torch's does. */
export const NOT_COUNTED = -100n;

/** The form of samples and targets. */
export class Form {
  /** Of a batch of samples, and of their targets. */
  readonly x: Port;
  readonly y: Port;
  /** How many there are, where targets are classes. */
  readonly #classes: number | undefined;
  /** Whether targets are the probabilities of classes. */
  readonly #probabilities: boolean;

  /** Of what a graph takes which evaluates, and the one that trains with it. */
  constructor(evaluate: Signature) {
    this.x = evaluate.input("x");
    this.y = evaluate.input("y");
    const usual = evaluate.loss === CROSS_ENTROPY, outputs = evaluate.outputs.get("outputs")?.shape ?? [];
    const classes = usual && this.y.dtype === "int64" && outputs.length > 1;
    this.#classes = classes ? outputs[1] : undefined;
    this.#probabilities = usual && this.y.dtype !== "int64";
  }

  /**
   * Refuse samples that the graph does not take, by a `RangeError`: there are none, or they are of another form, or
   * a target is no class, or a whole number among the samples is negative, which ONNX Runtime would take for the
   * last class or word.
   */
  check(data: AnySamples, who: string): void {
    checkSamples(data, who);
    const { inputs, targets, shape, targetShape = [] } = data;
    for (const [name, port, values, given] of [
      ["samples", this.x, inputs, shape], ["targets", this.y, targets, targetShape],
    ] as const) {
      const wanted = port.shape.slice(1);
      if (same(given, wanted) && dtypeOf(values) === port.dtype) continue;
      const why = `the graph takes ${name} of shape ${tuple(wanted)} (${port.dtype}), and these have ${tuple(given)}`
        + ` (${dtypeOf(values)})`;
      throw unfit(why, who, data);
    }
    if (inputs instanceof BigInt64Array) {
      const least = inputs.reduce((found, each) => (each < found ? each : found), 0n);
      if (least < 0n) throw unfit(`index ${least} is out of range`, who, data);
    }
    if (this.#probabilities) checkProbabilities(data, who);
    if (this.#classes === undefined || !(targets instanceof BigInt64Array)) return;
    const most = BigInt(this.#classes), wrong = targets.find((y) => y >= most || (y < 0n && y !== NOT_COUNTED));
    if (wrong === undefined) return;
    throw unfit(`target ${wrong} is out of bounds, there are ${most} classes`, who, data);
  }

  /** Samples with zeros for their targets, which have no part in a model's outputs. */
  withoutTargets(inputs: AnySamples["inputs"], shape: readonly number[]): AnySamples {
    const number = inputs.length / product(shape), targetShape = this.y.shape.slice(1);
    const targets: Values = zeros({ ...this.y, shape: [number, ...targetShape] });
    return { inputs, targets: targets as AnySamples["targets"], shape, targetShape };
  }
}
