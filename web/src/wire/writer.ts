/** Collects the parts of a message, which are then written once. */

import type { Bytes } from "../types.ts";

type Part = bigint | number | Uint8Array; // a varint, a double, or bytes

export class Writer {
  #parts: Part[] = [];
  length = 0;

  tag(number: number, wire: number): void {
    this.varint(BigInt((number << 3) | wire));
  }

  varint(value: bigint): void {
    this.#parts.push(value);
    this.length += 1;
    for (let left = value >> 7n; left; left >>= 7n) this.length += 1;
  }

  /** A signed number: small ones of both signs are short. */
  zigzag(value: bigint): void {
    this.varint(BigInt.asUintN(64, (value << 1n) ^ (value >> 63n)));
  }

  double(value: number): void {
    this.#parts.push(value);
    this.length += 8;
  }

  text(value: string): void {
    this.inner(new TextEncoder().encode(value));
  }

  /** Bytes, or what another writer has collected, after their length. */
  inner(value: Uint8Array | Writer): void {
    this.varint(BigInt(value.length));
    if (value instanceof Writer) {
      for (const part of value.#parts) this.#parts.push(part);
    } else this.#parts.push(value);
    this.length += value.length;
  }

  bytes(): Bytes {
    const data = new Uint8Array(this.length), view = new DataView(data.buffer);
    let at = 0;
    for (const part of this.#parts) {
      if (typeof part === "number") {
        view.setFloat64(at, part, true);
        at += 8;
      } else if (typeof part === "bigint") {
        let left = part;
        for (; left > 127n; left >>= 7n) data[at++] = Number(left & 127n) | 128;
        data[at++] = Number(left);
      } else {
        data.set(part, at);
        at += part.length;
      }
    }
    return data;
  }
}
