/** Integers modulo a power of two: sums are exact, and masks cancel (`hedgerow.ring.arithmetic`). */

import { type Bytes, bytesOf, type Integers, PayloadError } from "../types.ts";
import { type Codes, pack, packedBytes, unpack } from "./packing.ts";

/** Bits of the largest ring. */
const MOST_BITS = 32;

/** Numbers modulo `2**bits` in unsigned lanes of 8, 16 or 32 bits, which wrap at a multiple of that. */
export type Lanes = Codes;

interface LaneType {
  new (length: number): Lanes;
  new (buffer: ArrayBuffer, start?: number, length?: number): Lanes;
  readonly BYTES_PER_ELEMENT: number;
}

/** The integers modulo `2**bits`. */
export class Ring {
  readonly bits: number;

  constructor(bits: number) {
    if (!Number.isInteger(bits) || bits < 1 || bits > MOST_BITS) {
      throw new RangeError(`bits is ${bits}; it must be a whole number from 1 to ${MOST_BITS}`);
    }
    this.bits = bits;
  }

  /** The type of the lanes. */
  get lanes(): LaneType {
    return this.bits <= 8 ? Uint8Array : this.bits <= 16 ? Uint16Array : Uint32Array;
  }

  /** Integers, including negative ones, as lanes. */
  put(numbers: Integers): Lanes {
    const lanes = new this.lanes(numbers.length);
    for (let i = 0; i < numbers.length; i++) lanes[i] = numbers[i];
    return lanes;
  }

  /** The lanes modulo `2**bits`, in place. */
  reduced(lanes: Lanes): Lanes {
    const most = 2 ** this.bits - 1;
    for (let i = 0; i < lanes.length; i++) lanes[i] &= most;
    return lanes;
  }

  /** Lanes as integers from `-2**(bits - 1)` up to, but not including, `2**(bits - 1)`. */
  signed(lanes: Lanes): Int32Array<ArrayBuffer> {
    const free = 32 - this.bits;
    return Int32Array.from(lanes, (lane) => (lane << free) >> free);
  }

  /** Reduced lanes in `bits` bits each, little-endian. */
  pack(lanes: Lanes): Bytes {
    return this.bits === 8 * lanes.BYTES_PER_ELEMENT ? bytesOf(lanes) : pack(lanes, this.bits);
  }

  /** Undo `pack`. Throws `PayloadError` if the size is not that of `count` numbers. */
  unpack(packed: Bytes, count: number): Lanes {
    if (packed.length !== packedBytes(count, this.bits)) {
      throw new PayloadError(
        `there are ${packed.length} bytes; ${count} numbers of ${this.bits} bits take ${packedBytes(count, this.bits)}`,
      );
    }
    const size = this.lanes.BYTES_PER_ELEMENT;
    return this.bits === 8 * size ? new this.lanes(packed.slice().buffer) : unpack(packed, this.bits, count);
  }
}

/** The smallest ring that holds all integers from `-size` to `size`. */
export function ringWithin(size: number, whose: string): Ring {
  const bits = (2n * BigInt(size)).toString(2).length;
  if (bits > MOST_BITS) {
    throw new RangeError(
      `the sum of ${whose} needs a ring of ${bits} bits; ${MOST_BITS} are allowed: send fewer bits, lower the largest`
        + " weight (weight_by_examples(max_weight=...)), or ask fewer clients",
    );
  }
  return new Ring(bits);
}
