/** The only source of randomness, as in `hedgerow.rng`: a draw depends on seed, round, client and purpose alone. */

import { blake2b } from "@noble/hashes/blake2.js";
import { Pcg64 } from "./pcg64.ts";

/** Where a draw belongs: round 0 before the first, no client for the server's draws. */
export interface Place {
  round?: number;
  client?: string;
}

/** Draws as numpy's `Generator` makes them of PCG64. */
export class Generator {
  #bits: Pcg64;
  #kept: number | undefined;

  constructor(entropy: Uint32Array) {
    this.#bits = new Pcg64(entropy);
  }

  /** The next `n` words of 64 bits. */
  raw(n: number): BigUint64Array<ArrayBuffer> {
    const words = new BigUint64Array(n), halves = new Uint32Array(words.buffer);
    for (let i = 0; i < halves.length; i += 2) {
      this.#bits.next();
      halves[i] = this.#bits.low;
      halves[i + 1] = this.#bits.high;
    }
    return words;
  }

  /** A double from 0 up to, but not including, 1. */
  double(): number {
    this.#bits.next();
    return (this.#bits.high * 2 ** 21 + (this.#bits.low >>> 11)) / 2 ** 53;
  }

  /** The same as a float32. */
  float(): number {
    return (this.word() >>> 8) / 2 ** 24;
  }

  /** 32 bits: the low half of a word, and then its high half. */
  word(): number {
    if (this.#kept !== undefined) {
      const word = this.#kept;
      this.#kept = undefined;
      return word;
    }
    this.#bits.next();
    this.#kept = this.#bits.high;
    return this.#bits.low;
  }

  /** The numbers from 0 to `n - 1` in random order. */
  permutation(n: number): Uint32Array<ArrayBuffer> {
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const mask = 2 ** (32 - Math.clz32(i)) - 1;
      let other = this.word() & mask;
      while (other > i) other = this.word() & mask;
      [order[i], order[other]] = [order[other], order[i]];
    }
    return order;
  }
}

/** The generator of one purpose, such as `"quantize"`; calls that differ give independent draws. */
export function generator(seed: bigint | number, purpose: string, place: Place = {}): Generator {
  return new Generator(new Uint32Array(digest(seed, purpose, place).buffer));
}

/** A 63-bit seed for another generator. */
export function integerSeed(seed: bigint | number, purpose: string, place: Place = {}): bigint {
  return BigInt.asUintN(63, new BigUint64Array(digest(seed, purpose, place).buffer)[0]);
}

/** `n => (n,) uint64`: the next words of a random stream. */
export type RandomSource = (n: number) => BigUint64Array<ArrayBuffer>;

const MOST_AT_ONCE = 65536;

/** Bytes of the browser's own generator, for what an adversary must not guess. */
export function systemBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += MOST_AT_ONCE) crypto.getRandomValues(bytes.subarray(at, at + MOST_AT_ONCE));
  return bytes;
}

/** Words of the browser's own generator. */
export const systemSource: RandomSource = (n) => new BigUint64Array(systemBytes(8 * n).buffer);

/** A source that the seed determines: only for tests, as a simulation has it. */
export function seededSource(seed: bigint | number, purpose: string, place: Place = {}): RandomSource {
  const draws = generator(seed, purpose, place);
  return (n) => draws.raw(n);
}

function digest(seed: bigint | number, purpose: string, { round = 0, client = "" }: Place): Uint8Array<ArrayBuffer> {
  // The fields are joined with their lengths, in characters and not in UTF-16 units.
  const text = [String(seed), purpose, String(round), client].map((field) => `${[...field].length}:${field}`);
  return Uint8Array.from(blake2b(new TextEncoder().encode(text.join("")), { dkLen: 16 }));
}
