/** When clients may report how well a model does on their own samples, and how (`hedgerow.strategies.measuring`). */

import * as checks from "../checks.ts";
import { Ring } from "../ring/arithmetic.ts";
import type { SecureAggregation } from "../ring/secagg.ts";
import { MOST_CLIENTS, type RingVector, type Shape } from "../ring/vector.ts";
import { excludes, firstBroken, within } from "./conditions.ts";
import type { Strategy } from "./strategy.ts";
import { METRIC_RANGE, metricWords } from "./transforms/mask.ts";

/** Metrics for which less is better, and those that lie between 0 and 1. */
const LESS_IS_BETTER = ["loss", "mae", "mse", "rmse"], FRACTIONS = ["accuracy"];

/** What a client has measured on its held-out samples: means over them. */
export interface Measured {
  readonly numExamples: number;
  readonly metrics: ReadonlyMap<string, number>;
}

/** What a client adds that holds no samples out. */
export const NOTHING: Measured = { numExamples: 0, metrics: new Map() };

/** Why clients must not measure models beside a strategy, masked or not; empty where they may. */
export function refuseEvaluation(strategy: Strategy): string {
  return firstBroken(NOISED, strategy);
}

/** Why clients must not report their own metrics in the clear; empty if they may. */
export function refuseClientEvaluation(strategy: Strategy): string {
  return firstBroken([...ALONE, ...NOISED], strategy);
}

/** What each of a cohort adds to the sum of what they measure: no values, and numbers of 64 bits. */
export function measuredShape(secure: SecureAggregation, clients: number): Shape {
  checks.whole("clients", clients, 1, MOST_CLIENTS);
  return { ring: new Ring(1), length: 0, metrics: secure.assumptions.measured, streams: 0, clients };
}

/** What a client has measured, as numbers of the ring. Throws `RangeError` if a fraction is none. */
export function measuredVector({ numExamples, metrics }: Measured, { metrics: names }: Shape): RingVector {
  const words = [1n, ...names.flatMap((name) => metricWords(bounded(name, metrics.get(name)), numExamples))];
  return { values: new Uint8Array(0), words: BigUint64Array.from(words) };
}

function bounded(name: string, value: number | undefined): number | undefined {
  if (value === undefined) return undefined;
  const [low, high] = FRACTIONS.includes(name) ? [0, 1] : [-METRIC_RANGE, METRIC_RANGE];
  if (Number.isNaN(value)) return LESS_IS_BETTER.includes(name) ? high : low;
  if (FRACTIONS.includes(name) && !(low <= value && value <= high)) {
    throw new RangeError(`${name} is ${value}; it must be from 0 to 1; call what it is something else`);
  }
  return value;
}

const LEFT_OUT = "it must be left out";

const ALONE = within(
  LEFT_OUT,
  excludes(
    ["mask"],
    "{pipeline.name} shows the server only a sum, and the metrics of each client's own samples would be sent without a"
      + " mask",
  ),
);

const NOISED = within(
  LEFT_OUT,
  excludes(
    ["noise", "discrete noise"],
    "{name} promises an epsilon for each client, and the metrics of its own samples would be sent without noise",
  ),
  excludes(
    ["sample_noise"],
    "sample_noise promises an epsilon for each sample, and the metrics of a client's own samples would be sent without"
      + " noise",
  ),
);
