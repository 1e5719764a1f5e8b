/**
 * Protocol Buffers by a table of fields.
 *
 * Own code, because what comes from outside must have exactly one encoding (`hedgerow.wire.codec`), which
 * no library checks, and must take no more memory than its bytes: read values are views of the message.
 */

import { type Bytes, PayloadError } from "../types.ts";
import { Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

/**
 * Name, number and kind of a field. A kind is a scalar or a message's name; `raw` is a message left as its
 * bytes. `*` is repeated; `|` is one of several, and `?` may be left out: both are written if they are there.
 */
export type Field = readonly [name: string, number: number, kind: string];
export type Schema = Readonly<Record<string, readonly Field[]>>;

export type Value = bigint | number | boolean | string | Bytes | Message | Value[];

/** The fields of a message by name; what is left out is absent, other than lists and plain scalars. */
export interface Message {
  [field: string]: Value | undefined;
}

/** `strict`: everything is written once, in order and in the shortest way. `lenient`: as any protobuf reader. */
export type Reading = "strict" | "lenient";

const LEN = 2;
const WIRES: Readonly<Record<string, number>> = { double: 1, sint64: 0, uint64: 0, int32: 0, bool: 0 };
const DEEPEST = 64;
const DEFAULTS: Readonly<Record<string, Value>> = {
  double: 0, sint64: 0n, uint64: 0n, int32: 0, bool: false, string: "", bytes: new Uint8Array(0),
};

/** The fields that a message has in these bytes. Throws `PayloadError`. */
export function decode(schema: Schema, name: string, data: Bytes, reading: Reading): Message {
  return read(schema, name, new Reader(data, reading === "strict"), 0);
}

/** A field as it is read and written. */
interface Known {
  readonly name: string;
  readonly number: number;
  readonly type: string;
  readonly wire: number;
  /** Several values in one run of bytes. */
  readonly packed: boolean;
  readonly form: "plain" | "repeated" | "alternative" | "optional";
}

const FORMS: Readonly<Record<string, Known["form"]>> = { "*": "repeated", "|": "alternative", "?": "optional" };
const parsed = new Map<readonly Field[], readonly Known[]>();

/** The fields of a message, by their numbers. */
function knownOf(fields: readonly Field[]): readonly Known[] {
  let known = parsed.get(fields);
  if (known === undefined) {
    known = fields.map(([name, number, kind]): Known => {
      const type = kind.replace(/[*?|]$/, ""), form = FORMS[kind.slice(type.length)] ?? "plain";
      return { name, number, type, wire: WIRES[type] ?? LEN, packed: form === "repeated" && type in WIRES, form };
    });
    known = [...known].sort((one, other) => one.number - other.number);
    parsed.set(fields, known);
  }
  return known;
}

function read(schema: Schema, name: string, from: Reader, depth: number): Message {
  if (depth > DEEPEST) throw new PayloadError(`the message is nested more than ${DEEPEST} deep`);
  const fields = knownOf(schema[name]), found: Message = {};
  for (const field of fields) {
    if (field.form === "repeated") found[field.name] = [];
    else if (hasDefault(field)) found[field.name] = DEFAULTS[field.type];
  }
  for (let last = 0; !from.done; ) {
    const tag = from.size(), number = tag >>> 3, wire = tag & 7;
    const field = fields.find((each) => each.number === number);
    if (field === undefined) {
      from.skip(wire, name);
      continue;
    }
    if (from.strict) checkPlace(fields, field, name, last, found);
    last = number;
    const many = found[field.name];
    if (!Array.isArray(many)) {
      const value = one(schema, field, wire, from, depth);
      if (from.strict && hasDefault(field) && isDefault(value)) {
        throw new PayloadError(`${field.name} of a ${name} is written, and need not be`);
      }
      found[field.name] = value;
    } else if (field.packed && wire === LEN) {
      const packed = from.inner();
      if (from.strict && packed.done) throw new PayloadError(`${field.name} of a ${name} is an empty list`);
      while (!packed.done) many.push(one(schema, field, field.wire, packed, depth));
    } else {
      if (from.strict && field.packed) throw new PayloadError(`${field.name} of a ${name} is not packed`);
      many.push(one(schema, field, wire, from, depth));
    }
  }
  return found;
}

/** Refuse a field that comes too late, a second time, or beside another of those of which there is one. */
function checkPlace(fields: readonly Known[], field: Known, name: string, last: number, found: Message): void {
  const again = field.number === last && !(field.form === "repeated" && !field.packed);
  if (field.number < last || again) {
    throw new PayloadError(`${field.name} of a ${name} is out of order, or there twice`);
  }
  if (field.form !== "alternative") return;
  if (fields.some((other) => other.form === "alternative" && other.name in found)) {
    throw new PayloadError(`a ${name} has two values`);
  }
}

/** Whether a field that is left out has a value, which is then never written. */
function hasDefault({ form, type }: Known): boolean {
  return form === "plain" && type in DEFAULTS;
}

function one(schema: Schema, field: Known, wire: number, from: Reader, depth: number): Value {
  from.count();
  if (wire !== field.wire) throw new PayloadError(`${field.name} cannot have the wire type ${wire}`);
  switch (field.type) {
    case "double": return from.double();
    case "sint64": return from.zigzag();
    case "uint64": return from.varint();
    case "int32": return from.int32();
    case "bool": return from.bool();
    case "string": return from.text();
    case "bytes":
    case "raw": return from.bytes();
    default: return read(schema, field.type, from.inner(), depth + 1);
  }
}

function isDefault(value: Value): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return typeof value === "number" ? Object.is(value, 0) : !value;
}

/** The bytes of a message: fields by their numbers, each in the shortest way. */
export function encode(schema: Schema, name: string, message: Message): Bytes {
  return write(schema, name, message).bytes();
}

function write(schema: Schema, name: string, message: Message): Writer {
  const to = new Writer();
  for (const field of knownOf(schema[name])) {
    const value = message[field.name], { number, type, wire } = field;
    if (value === undefined || (hasDefault(field) && isDefault(value))) continue;
    if (!Array.isArray(value)) {
      to.tag(number, wire);
      put(schema, type, value, to);
    } else if (!field.packed) {
      for (const each of value) {
        to.tag(number, wire);
        put(schema, type, each, to);
      }
    } else if (value.length) {
      const packed = new Writer();
      for (const each of value) put(schema, type, each, packed);
      to.tag(number, LEN);
      to.inner(packed);
    }
  }
  return to;
}

function put(schema: Schema, type: string, value: Value, to: Writer): void {
  if (type === "double") to.double(value as number);
  else if (type === "sint64") to.zigzag(value as bigint);
  else if (type in WIRES) to.varint(BigInt.asUintN(64, BigInt(value as bigint | number | boolean)));
  else if (type === "string") to.text(value as string);
  else if (type === "bytes" || type === "raw") to.inner(value as Bytes);
  else to.inner(write(schema, type, value as Message));
}
