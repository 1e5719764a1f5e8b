/** Pairwise masks, which cancel in the sum, and self masks, which the server removes at the end. */

import { type RingVector, type Shape, type Words, wordsOf } from "../ring/vector.ts";
import type { Lanes } from "../ring/arithmetic.ts";
import type { Bytes } from "../types.ts";
import { encodeAll } from "./codec.ts";
import { sorted } from "./lists.ts";
import { PROTOCOL } from "./messages.ts";
import { agreed, derive, keystream } from "./primitives.ts";

/** Key of the mask that two clients share; each derives it from its secret and the other's public key. */
export function pairKey(secret: Bytes, other: Bytes, keys: Bytes, names: readonly [string, string]): Bytes {
  return derive(agreed(secret, other), encodeAll(PROTOCOL, "mask", keys, sorted(names)));
}

/** Key of a client's own mask. */
export function selfKey(seed: Bytes, keys: Bytes, name: string): Bytes {
  return derive(seed, encodeAll(PROTOCOL, "self mask", keys, name));
}

/** Key of the shares that one client seals for another. */
export function boxKey(secret: Bytes, other: Bytes, keys: Bytes, sender: string, recipient: string): Bytes {
  return derive(agreed(secret, other), encodeAll(PROTOCOL, "box", keys, sender, recipient));
}

/** Add a key's mask to a vector, or subtract it, in place. */
export async function mask(vector: RingVector, key: Bytes, shape: Shape, sign: 1 | -1): Promise<void> {
  const head = 8 * wordsOf(shape), { values, words } = vector;
  const stream = await keystream(key, head + values.BYTES_PER_ELEMENT * values.length);
  const ofWords = new BigUint64Array(stream.buffer, 0, words.length);
  const ofValues = new shape.ring.lanes(stream.buffer, head, values.length);
  add(words, ofWords, BigInt(sign));
  addLanes(values, ofValues, sign);
}

function add(words: Words, others: Words, sign: bigint): void {
  for (let i = 0; i < words.length; i++) words[i] += sign * others[i];
}

function addLanes(values: Lanes, others: Lanes, sign: number): void {
  for (let i = 0; i < values.length; i++) values[i] += sign * others[i];
}
