/** The golden vectors of the repository, and what tests share. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { type Bytes, bytesOf, Layout, type Numbers } from "../src/types.ts";

const GOLDEN = join(import.meta.dirname, "../../../tests/golden"); // from web/build/tests

/** A file of the golden vectors, as text. */
export function golden(name: string): string {
  return readFileSync(join(GOLDEN, name), "utf8");
}

/** The same as bytes. */
export function goldenBytes(name: string): Bytes {
  return Uint8Array.from(readFileSync(join(GOLDEN, name)));
}

/** Names in a folder of the golden files. */
export function goldenNames(folder: string): string[] {
  return readdirSync(join(GOLDEN, folder));
}

/** One of `vectors/*.json`; whole numbers are `bigint`, so that `1` and `1.0` stay apart. */
export function vectors(name: string): any {
  const marked = golden(`vectors/${name}.json`).replace(/^( *(?:"[^"]*": )?)(-?\d+)(,?)$/gm, '$1{"whole": "$2"}$3');
  return JSON.parse(marked, (_, value) => (typeof value?.whole === "string" ? BigInt(value.whole) : value));
}

export function bytes(hex: string): Bytes {
  return hexToBytes(hex) as Bytes;
}

export function hex(data: Uint8Array): string {
  return bytesToHex(data);
}

const KINDS = {
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  int64: BigInt64Array, uint64: BigUint64Array, float32: Float32Array, float64: Float64Array,
};

/** An array of the vectors: `{dtype, hex}`. */
export function array(told: { dtype: string; hex: string }): Numbers {
  return new KINDS[told.dtype as keyof typeof KINDS](bytes(told.hex).buffer);
}

/** Refuse arrays that differ in kind or in any bit. */
export function same(found: Numbers | undefined, wanted: Numbers, what?: string): void {
  assert.ok(found, what);
  assert.equal(found.constructor.name, wanted.constructor.name, what);
  assert.equal(hex(bytesOf(found)), hex(bytesOf(wanted)), what);
}

/** The arrays and the metadata of a `.safetensors` file. */
export function safetensors(name: string): { arrays: Map<string, Numbers>; metadata: Record<string, string> } {
  const data = goldenBytes(name);
  const size = Number(new DataView(data.buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...told } = JSON.parse(new TextDecoder().decode(data.subarray(8, 8 + size)));
  const names: Record<string, keyof typeof KINDS> = {
    F32: "float32", F64: "float64", U8: "uint8", U16: "uint16", U32: "uint32", U64: "uint64", I8: "int8", I16: "int16",
    I32: "int32", I64: "int64",
  };
  const arrays = Object.entries<any>(told).map(([key, { dtype, data_offsets: [start, end] }]): [string, Numbers] =>
    [key, new KINDS[names[dtype]](data.slice(8 + size + start, 8 + size + end).buffer)]);
  return { arrays: new Map(arrays), metadata };
}

/** Values of the vectors: whole numbers over a power of two, of both signs. */
export function numbers(n: number, factor = 7919): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n }, (_, i) =>
    (((i * i * factor + i * 104_729 + 31) % 2003) - 1001) / 2 ** (10 + (i % 5))); // exact below 2**53
}

/** The layout of the messages' vectors. */
export const LAYOUT = new Layout(
  [{ name: "weight", shape: [2, 3] }, { name: "bias", shape: [2] }], [{ name: "mean", shape: [2] }],
  [{ name: "pad", shape: [] }],
);
