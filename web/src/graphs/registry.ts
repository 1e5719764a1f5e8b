/** The list of operators, and how a rule gets into it. */

import { type Call, type Shape, Value } from "./values.ts";

/** What a node with an operator may look like. */
export interface Operator {
  /** What it gives; throws `BadGraphs` where that cannot be told. */
  readonly results: (call: Call) => readonly Value[];
  /** The fewest and the most inputs. */
  readonly inputs: readonly [least: number, most: number];
  /** The attributes that it may have. */
  readonly attributes: readonly string[];
  /** Bytes that it takes beside inputs and results. */
  readonly scratch: (call: Call, results: readonly Value[]) => number;
}

export type Rules = readonly (readonly [name: string, operator: Operator])[];

/** The most inputs of a node. */
export const MANY = 4096;

/** A rule under each of some names. */
export function named(
  names: string, inputs: Operator["inputs"], attributes: string, results: Operator["results"],
  scratch: Operator["scratch"] = () => 0,
): Rules {
  const operator = { results, inputs, attributes: attributes.split(" ").filter((each) => each), scratch };
  return names.split(" ").map((name) => [name, operator]);
}

/** A shape with another size, or without one, in a dimension. */
export function replaced(shape: Shape, axis: number, ...sizes: readonly number[]): Shape {
  return [...shape.slice(0, axis), ...sizes, ...shape.slice(axis + 1)];
}

/** Number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  return new Value(shape, "bool").size;
}
