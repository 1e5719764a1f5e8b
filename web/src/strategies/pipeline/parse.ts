/** The steps and rules that a description may name. */

import { type Aggregate, geometricMedian, krum, mean, median, trimmedMean } from "../aggregates.ts";
import { cyclic, poisson, type Sampling, uniform } from "../sampling.ts";
import { adaptiveClip, clip } from "../transforms/clipping.ts";
import { distributedNoise, randomizedRound, skellamNoise } from "../transforms/client_noise.ts";
import { errorFeedback } from "../transforms/feedback.ts";
import { mask } from "../transforms/mask.ts";
import { bandedNoise, gaussianNoise } from "../transforms/noise.ts";
import { quantize } from "../transforms/quantization.ts";
import { randomK, topK } from "../transforms/sparsification.ts";
import { weightByExamples } from "../transforms/weighting.ts";
import { calling, joining, parseCall, type Registry } from "./call.ts";
import { chain } from "./chain.ts";
import type { Transform } from "./transform.ts";

/** Steps, with their arguments in order. */
const TRANSFORMS: Registry<Transform> = {
  kind: "transform",
  parts: {
    float32: calling([], () => chain()),
    chain: joining(chain),
    weight_by_examples: calling(["max_weight"], weightByExamples),
    clip: calling(["norm"], clip),
    adaptive_clip: calling(["initial", "quantile", "learning_rate", "share"], adaptiveClip),
    gaussian_noise: calling(["multiplier"], gaussianNoise),
    randomized_round: calling(["unit", "norm", "range"], randomizedRound),
    distributed_noise: calling(["multiplier", "norm", "unit", "min_honest", "bits"], distributedNoise),
    skellam_noise: calling(["multiplier", "norm", "unit", "min_honest", "bits"], skellamNoise),
    banded_noise: calling(["multiplier", "bands", "rounds"], bandedNoise),
    error_feedback: joining(errorFeedback),
    top_k: calling(["fraction"], topK),
    random_k: calling(["fraction", "unbiased"], randomK),
    quantize: calling(["bits", "rounding", "block", "range"], quantize),
    mask: calling(["corrupt", "dropout", "min_clients", "failure_bits", "metrics", "measured"], mask),
  },
};

const AGGREGATES: Registry<Aggregate> = {
  kind: "aggregate",
  parts: {
    mean: calling([], mean),
    median: calling([], median),
    trimmed_mean: calling(["trim"], trimmedMean),
    krum: calling(["byzantine", "keep"], krum),
    geometric_median: calling(["smoothing", "steps"], geometricMedian),
  },
};

const SAMPLINGS: Registry<Sampling> = {
  kind: "sampling",
  parts: {
    uniform: calling(["clients", "fraction"], uniform),
    poisson: calling(["clients", "population"], poisson),
    cyclic: calling(["clients", "population"], cyclic),
  },
};

/** The pipeline that a text describes; its `name` is such a text. Throws `RangeError`. */
export function parsePipeline(text: string): Transform {
  return parseCall(text, TRANSFORMS, "pipeline", "quantize(8)");
}

/** The aggregation rule that a text describes. Throws `RangeError`. */
export function parseAggregate(text: string): Aggregate {
  return parseCall(text, AGGREGATES, "aggregate", "median()");
}

/** The sampling rule that a text describes. Throws `RangeError`. */
export function parseSampling(text: string): Sampling {
  return parseCall(text, SAMPLINGS, "sampling", "uniform(10)");
}
