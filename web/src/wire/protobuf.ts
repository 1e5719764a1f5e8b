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

function read(schema: Schema, name: string, from: Reader, depth: number): Message {
  if (depth > DEEPEST) throw new PayloadError(`the message is nested more than ${DEEPEST} deep`);
  const fields = schema[name], found: Message = {};
  for (const [field, , kind] of fields) {
    if (kind.endsWith("*")) found[field] = [];
    else if (kind in DEFAULTS) found[field] = DEFAULTS[kind];
  }
  let last = 0;
  while (!from.done) {
    const tag = from.size(), number = tag >>> 3, wire = tag & 7;
    const known = fields.find((each) => each[1] === number);
    if (known === undefined) {
      from.skip(wire, name);
      continue;
    }
    const [field, , kind] = known, type = kind.replace(/[*?|]$/, ""), many = found[field];
    if (from.strict && (number < last || (number === last && !(Array.isArray(many) && !(type in WIRES))))) {
      throw new PayloadError(`${field} of a ${name} is out of order, or there twice`);
    }
    last = number;
    if (!Array.isArray(many)) {
      if (from.strict && kind.endsWith("|") && fields.some(([other, , as]) => as.endsWith("|") && other in found)) {
        throw new PayloadError(`a ${name} has two values`);
      }
      const value = one(schema, type, wire, from, depth);
      if (from.strict && kind in DEFAULTS && isDefault(value)) {
        throw new PayloadError(`${field} of a ${name} is written, and need not be`);
      }
      found[field] = value;
    } else if (type in WIRES && wire === LEN) {
      const packed = from.inner();
      if (from.strict && packed.done) throw new PayloadError(`${field} of a ${name} is an empty list`);
      while (!packed.done) many.push(one(schema, type, WIRES[type], packed, depth));
    } else {
      if (from.strict && type in WIRES) throw new PayloadError(`${field} of a ${name} is not packed`);
      many.push(one(schema, type, wire, from, depth));
    }
  }
  return found;
}

function one(schema: Schema, type: string, wire: number, from: Reader, depth: number): Value {
  from.count();
  if (wire !== (WIRES[type] ?? LEN)) throw new PayloadError(`a ${type} cannot have the wire type ${wire}`);
  switch (type) {
    case "double": return from.double();
    case "sint64": return from.zigzag();
    case "uint64": return from.varint();
    case "int32": return from.int32();
    case "bool": return from.bool();
    case "string": return from.text();
    case "bytes":
    case "raw": return from.bytes();
    default: return read(schema, type, from.inner(), depth + 1);
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
  for (const [field, number, kind] of [...schema[name]].sort((a, b) => a[1] - b[1])) {
    const value = message[field], type = kind.replace(/[*?|]$/, "");
    if (value === undefined || (kind in DEFAULTS && isDefault(value))) continue;
    if (!Array.isArray(value)) {
      to.tag(number, WIRES[type] ?? LEN);
      put(schema, type, value, to);
    } else if (!(type in WIRES)) {
      for (const each of value) {
        to.tag(number, LEN);
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
