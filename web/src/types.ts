/** What is learned and what is sent, as in `hedgerow.types`. */

import { blake2b } from "@noble/hashes/blake2.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { represented, tuple } from "./wording.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** All values of a model of one kind, `(d,) float32`, in `Layout` order. */
export type Vector = Float32Array<ArrayBuffer>;

export type Integers = Int8Array<ArrayBuffer> | Int16Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

export type Numbers =
  | Integers | Vector | Bytes | Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Float64Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer> | BigUint64Array<ArrayBuffer>;

export type Arrays = ReadonlyMap<string, Numbers>;

/** A message or payload does not have the form that was asked for. */
export class PayloadError extends Error {}

/** Name and shape of one tensor of a model. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
}

/** Number of values of a shape. */
export function product(shape: readonly number[]): number {
  return shape.reduce((size, side) => size * side, 1);
}

/** Number of values of some tensors. */
export function sizeOf(...tensors: readonly Tensor[]): number {
  return tensors.reduce((total, { shape }) => total + product(shape), 0);
}

/** Where each tensor is in a model's vectors: trained ones, averaged ones, and those that never change. */
export class Layout {
  readonly parameters: readonly Tensor[];
  readonly buffers: readonly Tensor[];
  readonly constants: readonly Tensor[];
  /** Names of the tensors of normalisation layers. */
  readonly norms: readonly string[];

  constructor(
    parameters: readonly Tensor[], buffers: readonly Tensor[] = [], constants: readonly Tensor[] = [],
    norms: readonly string[] = [],
  ) {
    this.parameters = parameters;
    this.buffers = buffers;
    this.constants = constants;
    this.norms = norms;
  }

  /** The layout of those tensors whose names are wanted, in the same order. */
  select(wanted: (name: string) => boolean): Layout {
    const chosen = (tensors: readonly Tensor[]) => tensors.filter(({ name }) => wanted(name));
    return new Layout(chosen(this.parameters), chosen(this.buffers), chosen(this.constants), this.norms.filter(wanted));
  }

  /** Number of trainable values, `d`. */
  get dimension(): number {
    return sizeOf(...this.parameters);
  }

  get bufferSize(): number {
    return sizeOf(...this.buffers);
  }

  get constantSize(): number {
    return sizeOf(...this.constants);
  }

  /** A hash, 16 hex digits, that two layouts share only if they are equal. */
  get fingerprint(): string {
    let text = `${this.parameters.length} ${listed([...this.parameters, ...this.buffers])}`;
    if (this.constants.length) text += ` ${listed(this.constants)}`;
    return bytesToHex(blake2b(new TextEncoder().encode(text), { dkLen: 8 }));
  }
}

/** Tensors as Python writes a list of pairs, from which the fingerprint is made. */
function listed(tensors: readonly Tensor[]): string {
  return `[${tensors.map(({ name, shape }) => `(${represented(name)}, ${tuple(shape)})`).join(", ")}]`;
}

/** The values of a model: `(d,)`, `(b,)` and `(c,) float32`. */
export interface Model {
  readonly parameters: Vector;
  readonly buffers: Vector;
  readonly constants: Vector;
}

/** The same float32 values as their little-endian bytes, without a copy. */
export function bytesOf(values: Numbers): Bytes {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The bytes of a text, in UTF-8. */
export function utf8(text: string): Bytes {
  return Uint8Array.from(new TextEncoder().encode(text));
}

/** A hash of a model's constants, 64 hex digits, equal only for equal bits. */
export function hashConstants(constants: Vector): string {
  return bytesToHex(sha256(bytesOf(constants)));
}

/** What is sent: named arrays, and their weight in the mean; the next step works on `"values"`. */
export class Payload {
  readonly arrays: Arrays;
  readonly weight: number;

  constructor(arrays: Arrays, weight = 1) {
    this.arrays = arrays;
    this.weight = weight;
  }

  /** The same payload with new values, with other arrays added. */
  replace(values: Numbers, others: Iterable<readonly [string, Numbers]> = []): Payload {
    return new Payload(new Map([...this.arrays, ["values", values], ...others]), this.weight);
  }

  /** The same payload with new values, without an array that decoding has used up. */
  without(name: string, values: Numbers): Payload {
    const others = [...this.arrays].filter(([key]) => key !== name);
    return new Payload(new Map([...others, ["values", values]]), this.weight);
  }
}

/** The context that a step of the pipeline may use. */
export interface RoundContext {
  /** Of the run. */
  readonly seed: bigint;
  /** Number of the round, from 1. */
  readonly round: number;
  /** Stable name of the client; empty for the sum of a cohort. */
  readonly client: string;
  readonly layout: Layout;
  /** Number of samples that the client trained on. */
  readonly numExamples: number;
  /** Whether noise follows from the seed: only for tests, as a simulation has it. */
  readonly seededNoise: boolean;
  /** Number of local steps that the client has taken. */
  readonly steps?: number;
}

/** What training has found: the change of the parameters, and the buffers after it. */
export interface Fit {
  readonly delta: Vector;
  readonly buffers: Vector;
  readonly numExamples: number;
  /** Means over the samples, such as `loss`. */
  readonly metrics: ReadonlyMap<string, number>;
  /** What the client keeps for its next fit; of a trainer that declares `"state"`. */
  readonly state?: Arrays;
  /** Local steps taken; by default all of `LocalTraining.steps`. */
  readonly steps?: number;
}
