/** Aggregation rules: what a client must know of how a cohort's deltas are combined. */

import * as checks from "../checks.ts";
import { type Condition, excludes } from "./conditions.ts";

/** A rule that combines the clients' vectors. */
export interface Aggregate {
  readonly name: string;
  /** The result is a weighted sum, so it may be computed on encoded values. */
  readonly linear: boolean;
  /** The result is the weighted mean. */
  readonly mean: boolean;
  /** Whether a client's weight counts. */
  readonly weights: boolean;
}

/** The rule's traits, for the conditions of other parts. */
export function traitsOfAggregate({ linear, mean: isMean }: Aggregate): string[] {
  return [...(linear ? ["linear"] : []), ...(isMean ? ["mean"] : [])];
}

/** The rule's conditions on the strategy. */
export function conditionsOfAggregate({ weights }: Aggregate): readonly Condition[] {
  return weights ? [] : [ALIKE];
}

/** The weighted mean, as in FedAvg. */
export function mean(): Aggregate {
  return { name: "mean()", linear: true, mean: true, weights: true };
}

/** The coordinate-wise median. */
export function median(): Aggregate {
  return alike("median()");
}

/** The coordinate-wise trimmed mean. */
export function trimmedMean(trim: unknown = 0.2): Aggregate {
  const out = checks.probability("trim", trim);
  if (out >= 0.5) {
    throw new RangeError(`trim is ${out}; it must be below 0.5: it is left out at each of the two ends`);
  }
  return alike(`trimmed_mean(${out})`);
}

/** The mean of the updates closest to their neighbours. */
export function krum(byzantine: unknown = 0.2, keep: unknown = 1n): Aggregate {
  const bad = checks.probability("byzantine", byzantine), kept = checks.integer("keep", keep, 1);
  if (bad >= 0.5) {
    throw new RangeError(`byzantine is ${bad}; it must be below 0.5: no rule holds against a majority`);
  }
  return alike(kept === 1 ? `krum(${bad})` : `krum(${bad}, ${kept})`);
}

/** The vector with the smallest sum of distances to all updates. */
export function geometricMedian(smoothing: unknown = 1e-6, steps: unknown = 100n): Aggregate {
  const near = checks.positive("smoothing", smoothing), most = checks.integer("steps", steps, 1);
  return alike(near === 1e-6 && most === 100 ? "geometric_median()" : `geometric_median(${near}, ${most})`);
}

function alike(name: string): Aggregate {
  return { name, linear: false, mean: false, weights: false };
}

const ALIKE = excludes(
  ["weight"],
  "{aggregate.name} counts all clients the same, but {pipeline.name} weights them; use weighted=False, or mean()",
);
