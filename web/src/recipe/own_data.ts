/** The schema of data of which each device has its own (`hedgerow.recipe.own_data`). */

import * as checks from "../checks.ts";
import { isTable, type Json } from "../wire/text.ts";
import { general, repr, represented } from "../wording.ts";

/** The name of data of which each device has its own. */
export const OWN = "own";

/** What a trainer can hold, in an error: numbers of up to 3.4e38. */
const WITHIN = "within float32's range";

/** A device's own data does not fit the schema; the message says where, and what is allowed. */
export class DoesNotFit extends Error {}

const KNOWN = ["columns", "label", "classes", "shape", "shift", "scale", "lowest", "highest"] as const;

/** What each device's data must hold: names, and constants that no device's data have decided. */
export class OwnSchema {
  /** Of a table, the inputs in order; empty if samples are arrays or pictures. */
  readonly columns: readonly string[];
  /** Of a table, the column with the class, or with the number to predict. */
  readonly label: string;
  /** Names of the classes, in order; empty if numbers are predicted. */
  readonly classes: readonly string[];
  readonly shape: readonly number[];
  readonly shift: readonly number[];
  readonly scale: readonly number[];
  readonly lowest: readonly number[];
  readonly highest: readonly number[];

  constructor(given: Readonly<Record<string, Json>>) {
    this.columns = names("columns", given.columns ?? []);
    this.classes = names("classes", given.classes ?? []);
    this.label = checks.text("label", given.label ?? "label");
    if (this.classes.length === 1) {
      throw new RangeError(`classes is ${repr(this.classes)}; it must have two or more, or be left out`);
    }
    if (this.columns.includes(this.label)) {
      throw new RangeError(
        `label is ${represented(this.label)}, which is one of columns; the label cannot be an input`,
      );
    }
    this.shape = list("shape", given.shape ?? []).map((size) => checks.integer("shape", size, 1));
    if (!this.inputShape.length) {
      throw new RangeError("columns and shape are empty; give the columns of a table, or a sample's shape");
    }
    if (this.columns.length && this.size !== this.columns.length) {
      throw new RangeError(
        `shape is ${JSON.stringify(this.shape)}, ${this.size} values; there are ${this.columns.length} columns`,
      );
    }
    this.shift = this.#numbers("shift", given.shift ?? []);
    this.scale = this.#numbers("scale", given.scale ?? []);
    this.lowest = this.#numbers("lowest", given.lowest ?? []);
    this.highest = this.#numbers("highest", given.highest ?? []);
    if (this.scale.includes(0)) {
      throw new RangeError(`scale is ${repr(given.scale)}; values are divided by it, so it cannot be 0`);
    }
    for (const name of ["lowest", "highest"] as const) {
      const bounds = this[name], size = bounds.length && Math.max(bounds.length, this.shift.length, this.scale.length);
      const ends = Float64Array.from({ length: size }, (_, i) => this.#at(bounds, i));
      if (!this.prepare(ends).every(Number.isFinite)) {
        throw new RangeError(`${name} is ${repr(given[name])}; after shift and scale it must be ${WITHIN}`);
      }
    }
  }

  /** From a description. Throws `RangeError` for anything else. */
  static fromJson(given: Json): OwnSchema {
    if (!isTable(given)) throw new RangeError("the schema of own data must be a table");
    for (const [key, value] of Object.entries(given)) {
      if (!(KNOWN as readonly string[]).includes(key) || !(typeof value === "string" || Array.isArray(value))) {
        throw new RangeError(
          `the schema of own data has ${represented(key)}: ${repr(value)}; allowed are ${KNOWN.join(", ")}`,
        );
      }
    }
    return new OwnSchema(given);
  }

  /** The shape of one sample. */
  get inputShape(): readonly number[] {
    return this.shape.length ? this.shape : this.columns.length ? [this.columns.length] : [];
  }

  /** Number of values of one sample. */
  get size(): number {
    return this.inputShape.reduce((size, side) => size * side, 1);
  }

  /** Number of values that a model returns for a sample. */
  get numOutputs(): number {
    return this.classes.length || 1;
  }

  get task(): "classification" | "regression" {
    return this.classes.length ? "classification" : "regression";
  }

  /** Values of samples, one after another, for a trainer: computed in float64 and rounded once, as everywhere. */
  prepare(values: Float64Array): Float32Array<ArrayBuffer> {
    return Float32Array.from(values, (value, i) => this.#scaled(value, i));
  }

  #scaled(value: number, i: number): number {
    const moved = this.shift.length ? value - this.#at(this.shift, i) : value;
    return this.scale.length ? moved / this.#at(this.scale, i) : moved;
  }

  /** The position of the first value that is not allowed, counted through all samples; -1 if all are. */
  outOfRange(values: Float64Array): number {
    return values.findIndex((value, i) =>
      !Number.isFinite(Math.fround(this.#scaled(value, i)))
        || (this.lowest.length > 0 && value < this.#at(this.lowest, i))
        || (this.highest.length > 0 && value > this.#at(this.highest, i)));
  }

  /** The allowed values, in words. */
  allowed(column = 0): string {
    const [low, high] = [this.lowest, this.highest].map((bound) => bound[Math.min(column, bound.length - 1)]);
    if (low === undefined && high === undefined) return `a finite number ${WITHIN}`;
    if (low === undefined) return `a number of at most ${general(high)}, ${WITHIN}`;
    return high === undefined
      ? `a number of at least ${general(low)}, ${WITHIN}` : `a number from ${general(low)} to ${general(high)}`;
  }

  /** The constant of a value's column: there is one for all, or one for each. */
  #at(constants: readonly number[], i: number): number {
    return constants[constants.length === 1 ? 0 : i % constants.length];
  }

  #numbers(name: string, given: Json): number[] {
    const values = list(name, given).map((value) => (typeof value === "bigint" ? Number(value) : value));
    if (!values.every((value): value is number => typeof value === "number" && Number.isFinite(value))) {
      throw new RangeError(`${name} is ${repr(given)}; it must be finite numbers`);
    }
    if (![0, 1, this.columns.length].includes(values.length)) {
      throw new RangeError(
        `${name} has ${values.length} numbers; it must have one, or one for each of the ${this.columns.length} columns`,
      );
    }
    return values;
  }
}

function list(name: string, given: Json): readonly Json[] {
  if (!Array.isArray(given)) throw new RangeError(`${name} is ${repr(given)}; it must be a list`);
  return given;
}

function names(name: string, given: Json): string[] {
  const values = list(name, given);
  if (!values.every((value): value is string => typeof value === "string")) {
    throw new RangeError(`${name} is ${repr(given)}; it must be a tuple of strings`);
  }
  if (new Set(values).size < values.length || values.includes("")) {
    throw new RangeError(`${name} is ${repr(given)}; each must have its own name`);
  }
  return [...values];
}
