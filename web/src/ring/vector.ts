/** One client's contribution to a masked sum: values, weight, metrics and streams, in two rings. */

import type { Arrays } from "../types.ts";
import type { Lanes, Ring } from "./arithmetic.ts";

export type Words = BigUint64Array<ArrayBuffer>;

/** The largest cohort of a masked round. */
export const MOST_CLIENTS = 4096;

/** Metrics and streams, such as buffers, are multiples of 2**-20. */
export const RING_FRACTION_BITS = 20;

/** The shape of the vectors that all clients of a cohort send. */
export interface Shape {
  /** Of the values. */
  readonly ring: Ring;
  /** Number of values. */
  readonly length: number;
  /** Names of the metrics. */
  readonly metrics: readonly string[];
  /** Number of values of the streams: the buffers, and the strategy's own. */
  readonly streams: number;
  /** Size of the cohort. */
  readonly clients: number;
}

/** Number of 64-bit words: the weight, two for each metric, and the streams. */
export function wordsOf({ metrics, streams }: Shape): number {
  return 1 + 2 * metrics.length + streams;
}

/** What one client adds to the sum: `(length,)` lanes, and `(words,) uint64` modulo 2**64. */
export interface RingVector {
  readonly values: Lanes;
  readonly words: Words;
}

/** A vector, masked by now, as the arrays of a message. */
export function openPayload({ values, words }: RingVector, { ring }: Shape): Arrays {
  return new Map([["values", ring.pack(values)], ["words", words as Words | Lanes]]);
}
