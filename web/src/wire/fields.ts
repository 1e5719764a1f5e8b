/** The fields of messages, each read with its check; all functions throw `PayloadError`. */

import { type Numbers, PayloadError, type Vector } from "../types.ts";
import { unpackArrays } from "./arrays.ts";
import { ArrayRecord, ConfigRecord, type ConfigValue, type Content } from "./content.ts";

/** Names of records. */
export const MAIN = "hedgerow", SECURE = "secure", METRICS = "hedgerow.metrics";

export type Settings = ReadonlyMap<string, ConfigValue>;

const LONGEST_TEXT = 200, LONGEST_SHOWN = 80;
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;

/** The settings of a message, in a record of this name. */
export function config(content: Content, key = MAIN): Settings {
  const found = content.get(key);
  if (!(found instanceof ConfigRecord)) throw missing("ConfigRecord", key, content);
  return found;
}

/** The arrays of a record. */
export function arrays(content: Content, key: string): Map<string, Numbers> {
  const found = content.get(key);
  if (!(found instanceof ArrayRecord)) throw missing("ArrayRecord", key, content);
  return unpackArrays(found, key);
}

/** One array of a known size; empty if it is missing. */
export function floatVector(given: ReadonlyMap<string, Numbers>, name: string, size: number): Vector {
  const values = given.get(name) ?? new Float32Array(0);
  if (!(values instanceof Float32Array) || values.length !== size) {
    throw new PayloadError(`'${name}' has ${values.length} numbers; it must be ${size} of float32`);
  }
  return values;
}

/** A text of 1 to 200 characters. */
export function text(settings: Settings, key: string): string {
  const value = settings.get(key);
  if (typeof value !== "string" || !value || [...value].length > LONGEST_TEXT || UNPRINTABLE.test(value)) {
    throw new PayloadError(`${key} is ${shown(value)}; it must be a text of 1 to ${LONGEST_TEXT} printable characters`);
  }
  return value;
}

/** A whole number, 0 or above. */
export function whole(settings: Settings, key: string): bigint {
  const value = settings.get(key);
  if (typeof value !== "bigint" || value < 0n) {
    throw new PayloadError(`${key} is ${shown(value)}; it must be a whole number, 0 or above`);
  }
  return value;
}

/** The same for a count, which a `number` must hold exactly. */
export function count(settings: Settings, key: string): number {
  const value = whole(settings, key);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new PayloadError(`${key} is ${value}; it must be below 2**53`);
  return Number(value);
}

/** Bytes. */
export function bytes(settings: Settings, key: string): Uint8Array<ArrayBuffer> {
  const value = settings.get(key);
  if (!(value instanceof Uint8Array)) throw new PayloadError(`the ${key} is ${shown(value)}; it must be bytes`);
  return value;
}

/** A value as an error shows it. */
export function shown(value: unknown): string {
  const told = typeof value === "string" ? `'${value}'` : value === undefined ? "missing" : String(value);
  return told.length > LONGEST_SHOWN ? `${told.slice(0, LONGEST_SHOWN)}...` : told;
}

function missing(kind: string, key: string, content: Content): PayloadError {
  return new PayloadError(`the ${kind} '${key}' is missing; the records are ${[...content.keys()].sort()}`);
}
