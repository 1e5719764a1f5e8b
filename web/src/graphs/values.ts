/** What is known of a value in a graph before it runs, and of a call of an operator. */

import { type Bytes, product } from "../types.ts";
import { BadGraphs } from "./errors.ts";

/** The dtypes that an export writes, by ONNX's number. */
export const DTYPES: Readonly<Record<number, string>> = {
  1: "float32", 2: "uint8", 6: "int32", 7: "int64", 9: "bool", 11: "float64",
};

/** Bytes of an element. */
export const SIZES: Readonly<Record<string, number>> = {
  float32: 4, uint8: 1, int32: 4, int64: 8, bool: 1, float64: 8,
};

const MOST_NUMBERS = 64, NUMBER = 8;

export type Shape = readonly number[];

/** A tensor of which all sizes are known. */
export class Value {
  readonly shape: Shape;
  readonly dtype: string;
  /** Of a constant, as the graph holds it, again and again where it is shorter; absent where only a run shows it. */
  readonly data: Bytes | undefined;
  /** Whether it is the same in every run, so that ONNX Runtime may compute it once and keep it. */
  readonly fixed: boolean;

  constructor(shape: Shape, dtype: string, data?: Bytes, fixed = false) {
    this.shape = shape;
    this.dtype = dtype;
    this.data = data;
    this.fixed = fixed;
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. Throws `BadGraphs` where a `number` does not hold it. */
  get size(): number {
    const found = product(this.shape);
    if (Math.abs(found) > Number.MAX_SAFE_INTEGER) {
      throw new BadGraphs(`it has the shape (${this.shape}); no number of elements is taken that is above 2**53`);
    }
    return found;
  }

  /** Memory that it takes. */
  get bytes(): number {
    return this.size * SIZES[this.dtype];
  }

  /** Whether it has another's shape and dtype. */
  like(other: Value): boolean {
    return this.dtype === other.dtype && same(this.shape, other.shape);
  }
}

/** Whether two lists of numbers are equal. */
export function same(one: Shape, other: Shape): boolean {
  return one.length === other.length && one.every((size, k) => size === other[k]);
}

/** A whole number, a list of them, a tensor, or the bytes of anything else. */
export type Attribute = number | number[] | Value | Bytes;

/** What a step of a loop gives, and the bytes that it takes. */
export type Body = readonly [results: readonly Value[], working: number];

/** A node: an operator and what it is given. */
export class Call {
  readonly operator: string;
  readonly inputs: readonly Value[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  /** How many results it gives. */
  readonly outputs: number;
  readonly #within: (graph: Bytes, given: readonly Value[]) => Body;

  constructor(
    operator: string, inputs: readonly Value[], attributes: ReadonlyMap<string, Attribute>, outputs: number,
    within: (graph: Bytes, given: readonly Value[]) => Body,
  ) {
    this.operator = operator;
    this.inputs = inputs;
    this.attributes = attributes;
    this.outputs = outputs;
    this.#within = within;
  }

  /** The first input. */
  get x(): Value {
    return this.inputs[0];
  }

  /** The error for this node. */
  refuse(why: string): BadGraphs {
    return new BadGraphs(`a node ${this.operator} ${why}`);
  }

  /** What a graph among the attributes gives, and the memory that it takes. */
  body(name: string, inputs: readonly Value[]): Body {
    const found = this.attributes.get(name);
    if (!(found instanceof Uint8Array)) throw this.refuse(`has no graph ${name}`);
    return this.#within(found, inputs);
  }

  /** A whole number among the attributes. */
  whole(name: string, otherwise?: number): number {
    const value = this.attributes.get(name) ?? otherwise;
    if (typeof value !== "number") throw this.refuse(`has no whole number ${name}`);
    return value;
  }

  /** A list of whole numbers, one for each of some dimensions. */
  wholes(name: string, length: number): readonly number[] {
    const value = this.attributes.get(name);
    if (!Array.isArray(value) || value.length !== length) throw this.refuse(`has no ${length} whole numbers ${name}`);
    return value;
  }

  /** A dimension, counted from the front. */
  axis(number: number, rank: number): number {
    if (number < -rank || number >= rank) throw this.refuse(`has the dimension ${number}, and its value has ${rank}`);
    return number < 0 ? number + rank : number;
  }

  /** The whole numbers of an input that decides shapes; it must be a constant of the graph. */
  numbers(place: number): number[] {
    const { data, dtype, rank, size } = this.inputs[place];
    if (data === undefined || dtype !== "int64" || rank > 1 || size > MOST_NUMBERS) {
      throw this.refuse("takes a shape from what is no short list of constant whole numbers");
    }
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    return Array.from({ length: size }, (_, k) => {
      const value = view.getBigInt64((k * NUMBER) % data.length, true), number = Number(value);
      if (!Number.isSafeInteger(number)) throw this.refuse(`is given ${value}; none is taken that is above 2**53`);
      return number;
    });
  }

  /** Results of these shapes, in the first input's dtype or another. */
  like(shapes: readonly Shape[], dtype = this.x.dtype): Value[] {
    return shapes.map((shape) => new Value(shape, dtype));
  }

  /** The shape of several values together (ONNX's multidirectional broadcasting). */
  broadcast(...shapes: readonly Shape[]): Shape {
    const rank = Math.max(...shapes.map((shape) => shape.length));
    const wide = shapes.map((shape) => [...new Array<number>(rank - shape.length).fill(1), ...shape]);
    return Array.from({ length: rank }, (_, k) => {
      const found = wide.find((sizes) => sizes[k] !== 1)?.[k] ?? 1;
      if (wide.some((sizes) => sizes[k] !== 1 && sizes[k] !== found)) {
        throw this.refuse("is given shapes that do not fit together");
      }
      return found;
    });
  }
}
