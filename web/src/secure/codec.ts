/** A canonical encoding of values as bytes, for signing, hashing and sending (`hedgerow.secure.codec`). */

import { type Bytes, utf8 } from "../types.ts";
import { textOf } from "../wire/reader.ts";
import { Refused } from "./errors.ts";

/** Writes and reads values of one kind. */
export interface Codec<T> {
  write(value: T, to: Bytes[]): void;
  read(from: Source, where: string): T;
}

const MOST_BYTES = 2 ** 26;
const TAGS = { int: 0x69, bytes: 0x62, text: 0x73, sequence: 0x74 } as const;

/** A whole number, 0 or above. */
export const INT: Codec<number> = {
  write(value, to) {
    const data = new Uint8Array(9), view = new DataView(data.buffer);
    data[0] = TAGS.int;
    view.setBigUint64(1, BigInt(value));
    to.push(data);
  },
  read(from, where) {
    from.tag("int", where);
    const data = from.take(8), value = new DataView(data.buffer, data.byteOffset).getBigUint64(0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Refused("Malformed", `${where} is ${value}, above 2**53`);
    return Number(value);
  },
};

export const TEXT: Codec<string> = {
  write: (value, to) => to.push(head("text", utf8(value).length), utf8(value)),
  read(from, where) {
    const data = from.take(from.size("text", where));
    try {
      return textOf(data);
    } catch {
      throw new Refused("Malformed", `${where} is not UTF-8`);
    }
  },
};

/** Bytes, of one size if it is given. */
export function bytes(size?: number): Codec<Bytes> {
  return {
    write: (value, to) => to.push(head("bytes", value.length), value),
    read(from, where) {
      const value = from.take(from.size("bytes", where));
      if (size !== undefined && value.length !== size) {
        throw new Refused("Malformed", `${where} has ${value.length} bytes; it must have ${size}`);
      }
      return value;
    },
  };
}

/** A sequence of values of one kind. */
export function list<T>(item: Codec<T>): Codec<readonly T[]> {
  return {
    write(values, to) {
      to.push(head("sequence", values.length));
      for (const value of values) item.write(value, to);
    },
    read(from, where) {
      const values: T[] = [];
      for (let left = from.size("sequence", where); left > 0; left--) values.push(item.read(from, where));
      return values;
    },
  };
}

/** A message: a sequence of its fields, in this order. */
export function struct<T extends object>(name: string, fields: { readonly [K in keyof T]: Codec<T[K]> }): Codec<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  return {
    write(value, to) {
      to.push(head("sequence", names.length));
      for (const each of names) fields[each].write(value[each], to);
    },
    read(from, where) {
      const size = from.size("sequence", where);
      if (size !== names.length) throw new Refused("Malformed", `${name} has ${size} parts, and not ${names.length}`);
      return Object.fromEntries(names.map((each) => [each, fields[each].read(from, each)])) as T;
    },
  };
}

/** The bytes of a value; different values have different ones. */
export function encode<T>(kind: Codec<T>, value: T): Bytes {
  const parts: Bytes[] = [];
  kind.write(value, parts);
  return joined(parts);
}

/** The bytes of several texts, bytes and lists of texts, one after another. */
export function encodeAll(...values: readonly (string | Bytes | readonly string[])[]): Bytes {
  const parts = [head("sequence", values.length)];
  for (const value of values) {
    if (typeof value === "string") TEXT.write(value, parts);
    else if (value instanceof Uint8Array) bytes().write(value, parts);
    else list(TEXT).write(value, parts);
  }
  return joined(parts);
}

/** Undo `encode`, for bytes from outside; what is read are views of them. Throws `Malformed`. */
export function decode<T>(kind: Codec<T>, data: Bytes): T {
  if (data.length > MOST_BYTES) {
    throw new Refused("Malformed", `a message has ${data.length} bytes; at most ${MOST_BYTES} are allowed`);
  }
  const from = new Source(data), value = kind.read(from, "the message");
  if (from.left) throw new Refused("Malformed", `${from.left} bytes are left over after a message`);
  return value;
}

class Source {
  #data: Bytes;
  #at = 0;

  constructor(data: Bytes) {
    this.#data = data;
  }

  get left(): number {
    return this.#data.length - this.#at;
  }

  tag(kind: keyof typeof TAGS, where: string): void {
    if (this.take(1)[0] !== TAGS[kind]) throw new Refused("Malformed", `${where} is not a ${kind}`);
  }

  size(kind: keyof typeof TAGS, where: string): number {
    this.tag(kind, where);
    const data = this.take(4);
    return new DataView(data.buffer, data.byteOffset).getUint32(0);
  }

  take(size: number): Bytes {
    if (size > this.left) throw new Refused("Malformed", `the message ends ${size - this.left} bytes too early`);
    this.#at += size;
    return this.#data.subarray(this.#at - size, this.#at);
  }
}

function head(kind: keyof typeof TAGS, size: number): Bytes {
  const data = new Uint8Array(5);
  data[0] = TAGS[kind];
  new DataView(data.buffer).setUint32(1, size);
  return data;
}

function joined(parts: readonly Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
