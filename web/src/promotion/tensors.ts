/** A model's file, in the safetensors format: named arrays of numbers. */

import { type Bytes, PayloadError, type Vector } from "../types.ts";
import { textOf } from "../wire/reader.ts";

const LENGTH = 8, LARGEST_HEAD = 2 ** 20;
const SIZES: Readonly<Record<string, number>> = {
  BOOL: 1, I8: 1, U8: 1, I16: 2, U16: 2, F16: 2, BF16: 2, I32: 4, U32: 4, F32: 4, I64: 8, U64: 8, F64: 8,
};

/** One tensor of a model; what is learned is float32, and a module may count in other kinds. */
export interface Saved {
  /** As the format names it, such as `F32`. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Its numbers, little-endian. */
  readonly data: Bytes;
}

/** The numbers of a tensor of float32. Throws `PayloadError` if it is of another kind. */
export function floats({ dtype, data }: Saved): Vector {
  if (dtype !== "F32") throw unlike(`a tensor is of ${dtype}; it must be of F32`);
  return new Float32Array(data.slice().buffer);
}

/** The tensors of a file, without a copy. Throws `PayloadError` for other bytes. */
export function readTensors(data: Bytes): Map<string, Saved> {
  const size = data.length < LENGTH ? -1 : Number(new DataView(data.buffer, data.byteOffset).getBigUint64(0, true));
  if (size < 2 || size > LARGEST_HEAD || LENGTH + size > data.length) throw unlike("its head is cut off");
  const { __metadata__: _, ...told } = head(data.subarray(LENGTH, LENGTH + size)), found = new Map<string, Saved>();
  const body = data.subarray(LENGTH + size), order = Object.entries(told).sort(([, a], [, b]) => start(a) - start(b));
  let at = 0;
  for (const [name, about] of order) {
    const { dtype, shape, data_offsets: offsets } = about as Record<string, unknown>;
    if (typeof dtype !== "string" || !(dtype in SIZES) || !wholes(shape) || !wholes(offsets) || offsets.length !== 2) {
      throw unlike(`'${name}' is not a tensor of a known kind`);
    }
    const bytes = SIZES[dtype] * shape.reduce((product, side) => product * side, 1);
    if (offsets[0] !== at || offsets[1] !== at + bytes || offsets[1] > body.length) {
      throw unlike(`'${name}' does not lie where it should`);
    }
    at += bytes;
    found.set(name, { dtype, shape, data: body.subarray(...offsets as [number, number]) });
  }
  if (at !== body.length) throw unlike("it has bytes that belong to no tensor");
  return found;
}

function head(data: Bytes): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(textOf(data));
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found as Record<string, unknown>;
  } catch {
    // told below
  }
  throw unlike("its head is not a table");
}

function start(about: unknown): number {
  return Number((about as { data_offsets?: unknown[] } | null)?.data_offsets?.[0]);
}

function wholes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && each >= 0);
}

function unlike(why: string): PayloadError {
  return new PayloadError(`it is not a safetensors file: ${why}`);
}
