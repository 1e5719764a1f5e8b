/** Batches of one size, of which some rows are samples. */

import type { Signature } from "../../graphs/signature.ts";
import type { AnySamples } from "../fitting.ts";
import { type Values, zeros } from "./session.ts";

/** The arrays of a graph's batch: `x`, `y`, and the mask of the rows that are samples; others are zeros. */
export class Batch {
  readonly arrays: ReadonlyMap<"x" | "y" | "mask", Values>;
  readonly rows: number;
  /** How many rows are samples: the first ones. */
  samples = 0;

  constructor(signature: Signature) {
    this.arrays = new Map((["x", "y", "mask"] as const).map((name) => [name, zeros(signature.input(name))]));
    this.rows = signature.rows;
  }

  /** Take the samples at these positions. */
  take({ inputs, targets }: AnySamples, index: Uint32Array): void {
    for (const [name, given] of [["x", inputs], ["y", targets]] as const) {
      const into = this.arrays.get(name) as Float32Array, from = given as Float32Array, size = into.length / this.rows;
      index.forEach((sample, row) => into.set(from.subarray(sample * size, (sample + 1) * size), row * size));
    }
    if (index.length === this.samples) return;
    for (const values of this.arrays.values()) {
      const rest = values.subarray((index.length * values.length) / this.rows);
      if (rest instanceof BigInt64Array) rest.fill(0n);
      else rest.fill(0);
    }
    (this.arrays.get("mask") as Uint8Array).fill(1, 0, index.length);
    this.samples = index.length;
  }
}
