/** A device's own data: kept on the device, and never sent. */

import type { OwnSchema } from "../recipe/own_data.ts";

/** Samples of a device, for its trainer. */
export interface Samples {
  /** All values, sample by sample. */
  readonly inputs: Float32Array<ArrayBuffer>;
  /** A class for each sample, or a number to predict. */
  readonly targets: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;
  /** Of one sample. */
  readonly shape: readonly number[];
}

/** What the device's owner has drawn, sensed or picked. */
export interface OwnData {
  /** Samples that fit a run's schema; throws `DoesNotFit`, whose text tells nothing of the data. */
  samples(schema: OwnSchema): Promise<Samples>;
}

/** The samples at these positions. */
export function taken({ inputs, targets, shape }: Samples, positions: readonly number[]): Samples {
  const size = shape.reduce((all, side) => all * side, 1), found = new Float32Array(positions.length * size);
  positions.forEach((from, to) => found.set(inputs.subarray(from * size, (from + 1) * size), to * size));
  const own = new (targets.constructor as new (n: number) => typeof targets)(positions.length);
  positions.forEach((from, to) => (own[to] = targets[from]));
  return { inputs: found, targets: own, shape };
}
