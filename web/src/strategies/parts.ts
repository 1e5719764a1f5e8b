/** Arguments that every preset takes beside its own, and the strategy assembled from both. */

import * as checks from "../checks.ts";
import { LocalTraining } from "../training.ts";
import type { Json } from "../wire/text.ts";
import { type Aggregate, mean } from "./aggregates.ts";
import { patternsOf } from "./personal.ts";
import { chain } from "./pipeline/chain.ts";
import type { Transform } from "./pipeline/transform.ts";
import { type Sampling, uniform } from "./sampling.ts";
import { Strategy } from "./strategy.ts";
import type { Stream } from "./streams.ts";
import { weightByExamples } from "./transforms/weighting.ts";

/** What a description says beside a preset's own options; what it leaves out is the preset's default. */
export interface Parts {
  readonly sampling?: Sampling;
  readonly local?: LocalTraining;
  readonly pipeline?: Transform;
  /** No steps: a client of this kind takes a model as it is. */
  readonly downlink?: Transform;
  readonly aggregate?: Aggregate;
  readonly quorum?: Json;
  readonly max_weight?: Json;
  readonly max_norm?: Json;
  readonly norm_bound?: Json;
  readonly personal?: Json;
  /** Whether clients are weighted by their examples. */
  readonly weighted?: Json;
}

/** The arguments beside a preset's own, in order. */
export const PARTS: readonly (keyof Parts)[] = [
  "sampling", "local", "pipeline", "downlink", "aggregate", "quorum", "max_weight", "max_norm", "norm_bound",
  "personal", "weighted",
];

export function pipelineOf({ pipeline = chain() }: Parts): Transform {
  return pipeline;
}

export function localOf({ local = new LocalTraining() }: Parts): LocalTraining {
  return local;
}

/** Whether clients are weighted. Throws `RangeError` for another type. */
export function weightedOf({ weighted }: Parts, usual: boolean): boolean {
  return weighted === undefined ? usual : checks.flag("weighted", weighted);
}

/** Steps before a pipeline, which may have none. */
export function before(steps: readonly Transform[], pipeline: Transform): Transform {
  return chain(...steps, ...(pipeline.kinds.length ? [pipeline] : []));
}

/** A strategy from the choices of a preset and of its caller. */
export function assemble(
  name: string, parts: Parts,
  { streams = [], budget = false }: { streams?: readonly Stream[]; budget?: boolean } = {},
): Strategy {
  const aggregate = parts.aggregate ?? mean();
  let pipeline = pipelineOf(parts);
  // A rule that ignores weights gets none, unless the caller asks for them.
  if (weightedOf(parts, aggregate.weights) && !pipeline.kinds.includes("weight")) {
    pipeline = before([weightByExamples()], pipeline);
  }
  return new Strategy({
    name, pipeline, aggregate, streams, budget, local: localOf(parts), sampling: parts.sampling ?? uniform(10n),
    personal: patternsOf(parts.personal === undefined ? [] : parts.personal), quorum: parts.quorum,
    maxWeight: parts.max_weight, maxNorm: parts.max_norm, normBound: parts.norm_bound,
  });
}
