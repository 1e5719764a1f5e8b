/** Arrays in messages: vectors in numpy's `.npy` format, version 1.0. */

import { type Arrays, type Bytes, bytesOf, type Numbers, PayloadError } from "../types.ts";
import { ArrayRecord, type SentArray } from "./content.ts";

/** The `stype` of an array in the `.npy` format. */
export const STYPE = "numpy.ndarray";

const KINDS = {
  int8: ["|i1", Int8Array], uint8: ["|u1", Uint8Array], int16: ["<i2", Int16Array], uint16: ["<u2", Uint16Array],
  int32: ["<i4", Int32Array], uint32: ["<u4", Uint32Array], int64: ["<i8", BigInt64Array],
  uint64: ["<u8", BigUint64Array], float32: ["<f4", Float32Array], float64: ["<f8", Float64Array],
} as const;

const MAGIC = "\x93NUMPY\x01\x00";
const ALIGNED = 64, SPARE_DIGITS = 21, MOST_HEAD = 256;

/** The arrays as a record. */
export function packArrays(arrays: Arrays): ArrayRecord {
  return new ArrayRecord([...arrays].map(([name, values]) => [name, pack(values)]));
}

/** The arrays of the record named `key`. Throws `PayloadError` if one is not a vector of plain numbers. */
export function unpackArrays(record: ArrayRecord, key: string): Map<string, Numbers> {
  return new Map([...record].map(([name, array]) => [name, readArray(array, `array '${name}' of '${key}'`)]));
}

/**
 * The vector in the bytes; a view of them where they are aligned. Only the bytes decide, whatever `dtype`
 * and `shape` say. Throws `PayloadError` if they are not exactly one vector, as numpy writes it.
 */
export function readArray(array: SentArray, what: string): Numbers {
  if (array.stype !== STYPE) throw new PayloadError(`${what} is written as '${array.stype}'; it must be '${STYPE}'`);
  const { data } = array;
  const start = String.fromCharCode(...data.subarray(0, MOST_HEAD));
  const found = /'descr': '(.{3})', 'fortran_order': False, 'shape': \((\d{1,15}),\), /.exec(start);
  const dtype = Object.values(KINDS).find(([descr]) => descr === found?.[1]);
  if (!found || !dtype) throw new PayloadError(`${what} is not a vector of plain numbers in the .npy format`);
  const [descr, make] = dtype, count = Number(found[2]), before = head(descr, count);
  if (!start.startsWith(before) || data.length !== before.length + count * make.BYTES_PER_ELEMENT) {
    throw new PayloadError(`${what} has ${data.length} bytes, which are not ${count} of ${descr} and their head`);
  }
  const at = data.byteOffset + before.length;
  if (at % make.BYTES_PER_ELEMENT === 0) return new make(data.buffer, at, count);
  return new make(data.slice(before.length).buffer);
}

/** The dtype of some numbers, as numpy names it. */
export function dtypeOf(values: Numbers): keyof typeof KINDS {
  for (const [name, [, kind]] of Object.entries(KINDS)) if (values instanceof kind) return name as keyof typeof KINDS;
  throw new TypeError("these numbers have no dtype");
}

function pack(values: Numbers): SentArray {
  const dtype = dtypeOf(values), start = head(KINDS[dtype][0], values.length);
  const data: Bytes = new Uint8Array(start.length + values.byteLength);
  for (let i = 0; i < start.length; i++) data[i] = start.charCodeAt(i);
  data.set(bytesOf(values), start.length);
  return { dtype, shape: [values.length], stype: STYPE, data };
}

/** What numpy writes before the numbers of a vector; it leaves room for a longer one. */
function head(descr: string, count: number): string {
  const told = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${count},), }`;
  const padded = told + " ".repeat(SPARE_DIGITS - String(count).length);
  const size = MAGIC.length + 2 + padded.length + 1, free = ALIGNED - (size % ALIGNED);
  const length = padded.length + 1 + free;
  return `${MAGIC}${String.fromCharCode(length & 255, length >> 8)}${padded}${" ".repeat(free)}\n`;
}
