/** The l2 norm of a vector, and clipping to a norm, with the same bits in every language (`strategies.norms`). */

import type { Numbers, Vector } from "../types.ts";

/** Number of running sums, one for each position of a block. */
const BLOCK = 4096;

/**
 * The sum of the squares: by blocks of 4096 values, position by position and one block after the other, and
 * then the positions from the first to the last, in float64.
 */
export function squareSum(values: Exclude<Numbers, BigInt64Array | BigUint64Array>): number {
  const places = new Float64Array(Math.min(BLOCK, values.length));
  for (let i = 0; i < values.length; i++) places[i % BLOCK] += values[i] * values[i];
  return places.reduce((total, each) => total + each, 0);
}

/** The l2 norm, in float64. */
export function l2Norm(values: Vector): number {
  return Math.sqrt(squareSum(values));
}

/** The values, scaled down to an l2 norm of at most `bound` if they exceed it. */
export function clipped(values: Vector, bound: number): Vector {
  const length = l2Norm(values);
  if (length <= bound) return values;
  const factor = bound / length, scaled = values.map((value) => value * factor);
  // Rounding to float32 may have gone up; each step goes down by one unit in the last place.
  while (l2Norm(scaled) > bound) towardsZero(scaled);
  return scaled;
}

function towardsZero(values: Vector): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if (bits[i] & 0x7fffffff) bits[i] -= 1; // of a sign and a magnitude
}
