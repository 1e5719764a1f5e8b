/** Content as bytes, and back: the bytes of Flower's `RecordDict`, without Flower. */

import { type Bytes, PayloadError } from "../types.ts";
import {
  type AnyRecord, ArrayRecord, ConfigRecord, type ConfigValue, type Content, MetricRecord, type SentArray,
} from "./content.ts";
import * as protobuf from "./protobuf.ts";
import type { Message, Value } from "./protobuf.ts";
import { RECORDS } from "./schema.ts";

const LARGEST = 2n ** 63n - 1n;
const LISTS: Readonly<Record<string, string>> = {
  double: "double_list", sint64: "sint_list", uint64: "uint_list", bool: "bool_list", string: "string_list",
  bytes: "bytes_list",
};

/** The bytes of a message's content. Throws `TypeError` if a value is not allowed in a record. */
export function encode(content: Content): Bytes {
  const items = [...content].map(([key, record]) => ({ key, [`${fieldOf(record)}`]: message(record) }));
  return protobuf.encode(RECORDS, "RecordDict", { items });
}

/** Undo `encode`, for bytes from outside. Throws `PayloadError` if they are not an encoded content. */
export function decode(data: Bytes): Content {
  const content = new Map<string, AnyRecord>();
  for (const item of itemsOf(protobuf.decode(RECORDS, "RecordDict", data, "strict"))) {
    const [field, value] = only(item, ["array_record", "metric_record", "config_record"]);
    add(content, item.key as string, read(field, value as Message));
  }
  return content;
}

/** The bytes of a single record. */
export function encodeRecord(record: AnyRecord): Bytes {
  return protobuf.encode(RECORDS, nameOf(record), message(record));
}

/** Undo `encodeRecord`, for a record of settings or metrics. Throws `PayloadError`. */
export function decodeRecord(kind: "ConfigRecord" | "MetricRecord", data: Bytes): AnyRecord {
  const field = kind === "ConfigRecord" ? "config_record" : "metric_record";
  return read(field, protobuf.decode(RECORDS, kind, data, "strict"));
}

/** The name of a record's kind. */
export function nameOf(record: AnyRecord): "ArrayRecord" | "MetricRecord" | "ConfigRecord" {
  if (record instanceof ArrayRecord) return "ArrayRecord";
  return record instanceof MetricRecord ? "MetricRecord" : "ConfigRecord";
}

function fieldOf(record: AnyRecord): string {
  return `${nameOf(record).replace("Record", "").toLowerCase()}_record`;
}

function message(record: AnyRecord): Message {
  if (record instanceof ArrayRecord) {
    return { items: [...record].map(([key, array]) => ({ key, value: { ...array } as unknown as Message })) };
  }
  const kinds = record instanceof MetricRecord ? ["double", "sint64"] : ["bool", "sint64", "double", "string", "bytes"];
  return { items: [...record].map(([key, value]) => ({ key, value: told(value, kinds) })) };
}

/** A value in the field of its kind; an empty list is one of the first kind. */
function told(value: ConfigValue, kinds: readonly string[]): Message {
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  let kind = kinds.find((each) => values.every((one) => isA(each, one)));
  if (kind === undefined) throw new TypeError(`a value cannot be sent; it must be one of ${kinds}, or a list of one`);
  if (kind === "sint64" && values.some((one) => (one as bigint) > LARGEST)) kind = "uint64";
  return Array.isArray(value) ? { [LISTS[kind]]: { vals: value as Value[] } } : { [kind]: value as Value };
}

function isA(kind: string, value: unknown): boolean {
  if (kind === "bytes") return value instanceof Uint8Array;
  return typeof value === { bool: "boolean", sint64: "bigint", double: "number", string: "string" }[kind];
}

function read(field: string, found: Message): AnyRecord {
  if (field === "array_record") {
    const record = new ArrayRecord();
    for (const { key, value } of itemsOf(found)) {
      if (value === undefined) throw new PayloadError(`the array '${key}' is empty`);
      add(record, key as string, value as unknown as SentArray);
    }
    return record;
  }
  const record = field === "metric_record" ? new MetricRecord() : new ConfigRecord();
  for (const item of itemsOf(found)) {
    const [kind, value] = only((item.value ?? {}) as Message, [...Object.keys(LISTS), ...Object.values(LISTS)]);
    add<ConfigValue>(record, item.key as string, (kind in LISTS ? value : (value as Message).vals) as ConfigValue);
  }
  return record;
}

function itemsOf(found: Message): Message[] {
  return found.items as Message[];
}

/** The one field of several that is there. */
function only(holder: Message, fields: readonly string[]): [string, Value] {
  for (const field of fields) {
    const value = holder[field];
    if (value !== undefined) return [field, value];
  }
  throw new PayloadError("a record has an item without a value");
}

function add<V>(known: Map<string, V>, key: string, value: V): void {
  if (known.has(key)) throw new PayloadError(`'${key}' occurs twice`);
  known.set(key, value);
}
