/**
 * A graph's bytes, read one field at a time: a number in them never decides how much memory is taken.
 *
 * The field numbers are those of ONNX's `onnx.proto`, of the fields that `hedgerow export` writes. Every other
 * field is refused: among them external data, functions, sparse tensors and whatever a later version adds.
 */

import type { Bytes } from "../types.ts";
import { printable } from "../wording.ts";
import { textOf } from "../wire/reader.ts";
import { BadGraphs } from "./errors.ts";

/** ONNX's name of a field, and what is in it: `int`, `float`, `bytes` or the name of a message; `*` may be repeated. */
export type Field = readonly [name: string, kind: string];

/** The fields of each message, by number; `Tensor` and `Dimension` are nested ones. */
export const MESSAGES: Readonly<Record<string, Readonly<Record<number, Field>>>> = {
  ModelProto: {
    1: ["ir_version", "int"], 2: ["producer_name", "bytes"], 7: ["graph", "GraphProto"],
    8: ["opset_import", "OperatorSetIdProto*"], 14: ["metadata_props", "StringStringEntryProto*"],
  },
  OperatorSetIdProto: { 1: ["domain", "bytes"], 2: ["version", "int"] },
  StringStringEntryProto: { 1: ["key", "bytes"], 2: ["value", "bytes"] },
  GraphProto: {
    1: ["node", "NodeProto*"], 2: ["name", "bytes"], 5: ["initializer", "TensorProto*"],
    11: ["input", "ValueInfoProto*"], 12: ["output", "ValueInfoProto*"],
  },
  NodeProto: {
    1: ["input", "bytes*"], 2: ["output", "bytes*"], 4: ["op_type", "bytes"], 5: ["attribute", "AttributeProto*"],
  },
  AttributeProto: {
    1: ["name", "bytes"], 2: ["f", "float"], 3: ["i", "int"], 4: ["s", "bytes"], 5: ["t", "TensorProto"],
    6: ["g", "GraphProto"], 8: ["ints", "int*"], 20: ["type", "int"],
  },
  TensorProto: { 1: ["dims", "int*"], 2: ["data_type", "int"], 8: ["name", "bytes"], 9: ["raw_data", "bytes"] },
  ValueInfoProto: { 1: ["name", "bytes"], 2: ["type", "TypeProto"] },
  TypeProto: { 1: ["tensor_type", "Tensor"] },
  Tensor: { 1: ["elem_type", "int"], 2: ["shape", "TensorShapeProto"] },
  TensorShapeProto: { 1: ["dim", "Dimension*"] },
  Dimension: { 1: ["dim_value", "int"] },
};

const VARINT = 0, BYTES = 2, FIXED32 = 5;
const MOST_TEXT = 1000, MOST_CHARACTERS = 300;

/** A whole number, or the bytes of anything else. */
export type Part = number | Bytes;

/** The fields of a small message: repeated ones as lists, others if they are there. */
export type Collected = Readonly<Record<string, Part | Part[] | undefined>>;

/**
 * Name and value of each field in order. Throws `BadGraphs` if the bytes are cut off, or have a field that is
 * unknown, twice there or of another form.
 */
export function* fields(message: string, data: Bytes): Generator<readonly [string, Part]> {
  const known = MESSAGES[message], there = new Set<string>(), from = new Cursor(data);
  while (!from.done) {
    const tag = from.varint(), [number, wire] = typeof tag === "number" ? [tag >>> 3, tag & 7] : [tag >> 3n, 0];
    const field = known[number as number];
    if (field === undefined) throw new BadGraphs(`it has field ${number} of ONNX's ${message}, which no export writes`);
    const [name, told] = field, repeated = told.endsWith("*"), kind = repeated ? told.slice(0, -1) : told;
    if (there.has(name) && !repeated) throw new BadGraphs(`it has ${name} of ${message} twice`);
    there.add(name);
    if (kind === "int" && wire === VARINT) {
      yield [name, from.whole()];
    } else if (kind === "float" && wire === FIXED32) {
      yield [name, from.part(4)];
    } else if (wire === BYTES && ((kind !== "int" && kind !== "float") || repeated)) {
      const part = from.part(Number(from.varint()));
      if (kind !== "int") yield [name, part];
      else for (const packed = new Cursor(part); !packed.done; ) yield [name, packed.whole()];
    } else {
      throw new BadGraphs(`${name} of ${message} has wire type ${wire}, which no export writes`);
    }
  }
}

/** All fields of a small message: repeated ones as lists of at most `most`. Throws `BadGraphs`. */
export function collect(message: string, data: Bytes, most = 16): Collected {
  const found: Record<string, Part | Part[]> = {};
  for (const [name, kind] of Object.values(MESSAGES[message])) if (kind.endsWith("*")) found[name] = [];
  for (const [name, value] of fields(message, data)) {
    const several = found[name];
    if (!Array.isArray(several)) found[name] = value;
    else if (several.length < most) several.push(value);
    else throw new BadGraphs(`${name} of ${message} has more than ${most} values`);
  }
  return found;
}

/** A name: 1 to 300 printable characters. Throws `BadGraphs`. */
export function text(data: Bytes): string {
  let found: string;
  try {
    found = textOf(data.subarray(0, MOST_TEXT));
  } catch {
    throw new BadGraphs("a name in it is no text");
  }
  const short = data.length <= MOST_TEXT && found !== "" && [...found].length <= MOST_CHARACTERS;
  if (!short || !printable(found)) {
    throw new BadGraphs(`a name in it is empty, longer than ${MOST_CHARACTERS} characters, or cannot be printed`);
  }
  return found;
}

class Cursor {
  readonly #data: Bytes;
  #at = 0;

  constructor(data: Bytes) {
    this.#data = data;
  }

  get done(): boolean {
    return this.#at >= this.#data.length;
  }

  /** An unsigned number of up to 64 bits: a `bigint` where it has more than 28. */
  varint(): number | bigint {
    let low = 0, high = 0n;
    for (let place = 0; place < 10; place++) {
      if (this.done) throw new BadGraphs("it is cut off in a number");
      const byte = this.#data[this.#at++];
      if (place < 4) low |= (byte & 127) << (7 * place);
      else high |= BigInt(byte & 127) << BigInt(7 * place);
      if (byte >= 128) continue;
      if (place < 4) return low;
      if (high >= 2n ** 64n) break;
      return high | BigInt(low);
    }
    throw new BadGraphs("a number in it has more than 64 bits");
  }

  /** A signed one, which a `number` must hold exactly. */
  whole(): number {
    const value = this.varint(), signed = typeof value === "number" ? value : BigInt.asIntN(64, value);
    const number = Number(signed);
    if (Number.isSafeInteger(number)) return number;
    throw new BadGraphs(`it has the number ${signed}; none is taken that is above 2**53`);
  }

  part(length: number): Bytes {
    if (length > this.#data.length - this.#at) {
      throw new BadGraphs("it is cut off: a field says that it is longer than what is there");
    }
    this.#at += length;
    return this.#data.subarray(this.#at - length, this.#at);
  }
}
