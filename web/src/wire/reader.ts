/** Reads what Protocol Buffers write, without a copy, and no more values than the bytes can be worth. */

import { type Bytes, PayloadError } from "../types.ts";

const FREE_VALUES = 65_536, BYTES_A_VALUE = 16;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text of bytes. Throws `PayloadError`. */
export function textOf(data: Uint8Array): string {
  try {
    return UTF8.decode(data);
  } catch {
    throw new PayloadError("a text is not UTF-8");
  }
}

export class Reader {
  /** Whether a number must be written in the shortest way, and no field be unknown. */
  readonly strict: boolean;
  #data: Bytes;
  #at = 0;
  #values: { left: number };

  constructor(data: Bytes, strict: boolean, values = { left: FREE_VALUES + Math.floor(data.length / BYTES_A_VALUE) }) {
    this.#data = data;
    this.strict = strict;
    this.#values = values;
  }

  get done(): boolean {
    return this.#at >= this.#data.length;
  }

  /** Count one value that is made: each takes memory of its own, however few bytes it has. */
  count(): void {
    if (this.#values.left-- <= 0) {
      throw new PayloadError(
        `the message has too many values; ${FREE_VALUES}, and one more for each ${BYTES_A_VALUE} bytes, are allowed`,
      );
    }
  }

  varint(): bigint {
    let low = 0, high = 0n, byte = 128;
    const start = this.#at;
    for (; byte & 128; this.#at++) {
      const place = this.#at - start;
      if (this.#at >= this.#data.length || place > 9) throw new PayloadError("a number is cut off, or too long");
      byte = this.#data[this.#at];
      if (place < 4) low += (byte & 127) * 2 ** (7 * place);
      else high |= BigInt(byte & 127) << BigInt(7 * place);
    }
    const length = this.#at - start;
    if (this.strict && ((byte === 0 && length > 1) || (length === 10 && byte > 1))) {
      throw new PayloadError("a number is not written in the shortest way");
    }
    return BigInt.asUintN(64, high | BigInt(low));
  }

  zigzag(): bigint {
    const value = this.varint();
    return (value >> 1n) ^ -(value & 1n);
  }

  int32(): number {
    const value = this.varint(), number = BigInt.asIntN(32, value);
    if (this.strict && BigInt.asUintN(64, number) !== value) throw new PayloadError("a number has more than 32 bits");
    return Number(number);
  }

  bool(): boolean {
    const value = this.varint();
    if (this.strict && value > 1n) throw new PayloadError(`a truth is ${value}; it must be 0 or 1`);
    return value !== 0n;
  }

  /** A number of bytes, or a field with its wire type. */
  size(): number {
    const value = this.varint();
    if (value > 0xffffffffn) throw new PayloadError("a length or a field's number has more than 32 bits");
    return Number(value);
  }

  double(): number {
    const bytes = this.#take(8);
    return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
  }

  /** A view of the bytes after a length. */
  bytes(): Bytes {
    return this.#take(this.size());
  }

  text(): string {
    return textOf(this.bytes());
  }

  /** A reader of the bytes after a length; what it counts is counted here. */
  inner(): Reader {
    return new Reader(this.bytes(), this.strict, this.#values);
  }

  /** Pass over a field that is not known. */
  skip(wire: number, where: string): void {
    this.count();
    if (this.strict) throw new PayloadError(`a ${where} has a field that it must not have`);
    if (wire === 0) this.varint();
    else if (wire === 1) this.#take(8);
    else if (wire === 2) this.bytes();
    else if (wire === 5) this.#take(4);
    else throw new PayloadError(`a ${where} has a field of wire type ${wire}`);
  }

  #take(size: number): Bytes {
    if (size > this.#data.length - this.#at) throw new PayloadError("the message is cut off");
    this.#at += size;
    return this.#data.subarray(this.#at - size, this.#at);
  }
}
