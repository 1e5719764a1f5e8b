/** A message's content as Flower stores it: a tree of objects, each named by the SHA-256 of its bytes. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { type Bytes, PayloadError } from "../types.ts";
import { json } from "../wording.ts";
import { decodeRecord, encodeRecord, nameOf } from "./codec.ts";
import { type AnyRecord, ArrayRecord, type Content, type SentArray } from "./content.ts";
import { textOf } from "./reader.ts";

/** Most bytes of an array in one object. */
export const CHUNK = 5 * 2 ** 20;

/** Most bytes of an array in a message: equal chunks are sent once, so that a few bytes could ask for many. */
const LARGEST = 64 * 2 ** 20;

/** `{id: bytes}`, children before their parents. */
export type Objects = Map<string, Bytes>;

/** The id of an object, 64 hex digits. */
export function objectId(data: Bytes): string {
  return bytesToHex(sha256(data));
}

/** Add the object `KIND CHILDREN LENGTH\0BODY`, and return its id. */
export function add(objects: Objects, kind: string, children: Iterable<string>, body: Bytes): string {
  const head = new TextEncoder().encode(`${kind} ${[...new Set(children)].join(",")} ${body.length}\0`);
  const data = new Uint8Array(head.length + body.length);
  data.set(head);
  data.set(body, head.length);
  const found = objectId(data);
  objects.set(found, data);
  return found;
}

/** The id of a content, and all its objects. */
export function pack(content: Content): [string, Objects] {
  const objects: Objects = new Map();
  const records = new Map([...content].map(([name, record]) => [name, packRecord(objects, record)]));
  return [add(objects, "RecordDict", records.values(), encoded(records)), objects];
}

/** Undo `pack`. Throws `PayloadError` if an object is missing or invalid. */
export function unpack(root: string, objects: ReadonlyMap<string, Bytes>): Content {
  const [, , body] = parts(get(objects, root), "RecordDict");
  return new Map([...names(body)].map(([name, id]) => [name, unpackRecord(get(objects, id), objects)]));
}

/** The ids of an object's children. Throws `PayloadError` if it is not an object. */
export function children(data: Bytes): string[] {
  return parts(data)[1];
}

function packRecord(objects: Objects, record: AnyRecord): string {
  if (!(record instanceof ArrayRecord)) return add(objects, nameOf(record), [], encodeRecord(record));
  const arrays = new Map([...record].map(([name, array]) => [name, packArray(objects, array)]));
  return add(objects, "ArrayRecord", arrays.values(), encoded(arrays));
}

function packArray(objects: Objects, { dtype, shape, stype, data }: SentArray): string {
  const chunks: string[] = [];
  for (let at = 0; at < data.length; at += CHUNK) {
    chunks.push(add(objects, "ArrayChunk", [], data.subarray(at, at + CHUNK)));
  }
  const different = [...new Set(chunks)], places = chunks.map((chunk) => different.indexOf(chunk));
  const about = new Map<string, unknown>(Object.entries({ dtype, shape, stype, arraychunk_ids: places }));
  return add(objects, "Array", chunks, encoded(about));
}

function unpackRecord(data: Bytes, objects: ReadonlyMap<string, Bytes>): AnyRecord {
  const [kind, , body] = parts(data);
  if (kind === "ConfigRecord" || kind === "MetricRecord") return decodeRecord(kind, body);
  parts(data, "ArrayRecord");
  return new ArrayRecord([...names(body)].map(([name, id]) => [name, unpackArray(get(objects, id), objects)]));
}

function unpackArray(object: Bytes, objects: ReadonlyMap<string, Bytes>): SentArray {
  const [, chunks, body] = parts(object, "Array");
  const { dtype, shape, stype, arraychunk_ids: places } = table(body);
  if (
    typeof dtype !== "string" || typeof stype !== "string" || !wholes(shape) || !wholes(places)
    || places.some((place) => place >= chunks.length)
  ) {
    throw new PayloadError("an array's head cannot be read, or does not match its chunks");
  }
  const found = places.map((place) => parts(get(objects, chunks[place]), "ArrayChunk")[2]);
  return { dtype, shape, stype, data: found.length === 1 ? found[0] : joined(found) };
}

/** Type, children and body of an object, which must have the wanted type. */
function parts(data: Bytes, wanted?: string): [string, string[], Bytes] {
  const end = data.indexOf(0);
  const [kind, ids, length, ...more] = textOf(data.subarray(0, Math.max(end, 0))).split(" ");
  const body = data.subarray(end + 1);
  if (end < 0 || more.length || length !== String(body.length) || (wanted !== undefined && kind !== wanted)) {
    throw new PayloadError(
      `an object is a '${kind.slice(0, 40)}' of ${body.length} bytes, but should be a ${wanted ?? "record"}`,
    );
  }
  return [kind, ids ? ids.split(",") : [], body];
}

function names(body: Bytes): Map<string, string> {
  const found = Object.entries(table(body));
  if (found.some(([, id]) => typeof id !== "string")) throw new PayloadError("a record's names have no ids");
  return new Map(found as [string, string][]);
}

function table(body: Bytes): Readonly<{ [key: string]: unknown }> {
  let found: unknown;
  try {
    found = JSON.parse(textOf(body));
  } catch {
    throw new PayloadError("an object's table is not JSON");
  }
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    throw new PayloadError("an object's table is not a JSON object");
  }
  return found as { [key: string]: unknown };
}

function get(objects: ReadonlyMap<string, Bytes>, id: string): Bytes {
  const found = objects.get(id);
  if (found === undefined) throw new PayloadError("an object of the message is missing");
  return found;
}

function wholes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0);
}

function joined(several: readonly Bytes[]): Bytes {
  const size = several.reduce((total, each) => total + each.length, 0);
  if (size > LARGEST) throw new PayloadError(`an array has ${size} bytes; at most ${LARGEST} are allowed`);
  const whole = new Uint8Array(size);
  let at = 0;
  for (const each of several) {
    whole.set(each, at);
    at += each.length;
  }
  return whole;
}

function encoded(value: ReadonlyMap<string, unknown>): Bytes {
  return new TextEncoder().encode(json(value));
}
