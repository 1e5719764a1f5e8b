/** Well-known algorithms, each assembled from a few parts (`hedgerow.strategies.presets` and `...algorithms`). */

import * as checks from "../checks.ts";
import { SecureAggregation } from "../ring/secagg.ts";
import type { Json } from "../wire/text.ts";
import { repr } from "../wording.ts";
import { feddyn } from "./algorithms/feddyn.ts";
import { fednova } from "./algorithms/fednova.ts";
import { scaffold } from "./algorithms/scaffold.ts";
import { assemble, before, localOf, type Parts, pipelineOf, weightedOf } from "./parts.ts";
import { NORMS, patternsOf } from "./personal.ts";
import { chain } from "./pipeline/chain.ts";
import type { Transform } from "./pipeline/transform.ts";
import { cyclic, poisson } from "./sampling.ts";
import type { Strategy } from "./strategy.ts";
import { distributedNoise, randomizedRound, skellamNoise, unitFor } from "./transforms/client_noise.ts";
import { adaptiveClip, clip } from "./transforms/clipping.ts";
import { mask } from "./transforms/mask.ts";
import { bandedNoise, gaussianNoise } from "./transforms/noise.ts";
import { quantize } from "./transforms/quantization.ts";
import { weightByExamples } from "./transforms/weighting.ts";

/** A preset's own arguments. */
export type Options = Readonly<Record<string, Json>>;

/** A preset: its own arguments with their defaults, and the strategy that it makes. */
export interface Preset {
  readonly options: Options;
  readonly make: (options: Options, parts: Parts) => Strategy;
}

const WIDEST = 32;
const MOST_EXAMPLES = 2 ** 40;
const SERVER = { server_learning_rate: 1, server_momentum: 0 };
const ADAPTIVE = { server_learning_rate: 0.01, beta_1: 0.9, beta_2: 0.99, tau: 1e-3 };
const BUDGET = { delta: 1e-5, epsilon: null, adjacency: "zero_out" };
const MASK = { corrupt: 0.2, dropout: 0.2, min_clients: 10n };

export const PRESETS: Readonly<Record<string, Preset>> = {
  fedavg: { options: {}, make: (_, parts) => assemble("fedavg", parts) },
  fedprox: {
    options: { mu: 0.01 },
    make({ mu }, parts) {
      checks.notNegative("mu", mu);
      return assemble("fedprox", { ...parts, local: localOf(parts).with({ proximal: mu }) });
    },
  },
  fedavgm: { options: { ...SERVER, server_momentum: 0.9 }, make: onTheServer("fedavgm", checkServer) },
  fedadam: { options: ADAPTIVE, make: onTheServer("fedadam", checkAdaptive) },
  fedyogi: { options: ADAPTIVE, make: onTheServer("fedyogi", checkAdaptive) },
  fedadagrad: {
    options: { server_learning_rate: 0.01, tau: 1e-3 },
    make: onTheServer("fedadagrad", (options) => checkAdaptive({ beta_1: 0, beta_2: 0, ...options })),
  },
  secure_fedavg: {
    options: { clip_norm: 10, bits: 12n, value_range: null, max_examples: 1000n, ...MASK, metrics: "loss" },
    make: secureFedavg,
  },
  dp_fedavg: {
    options: {
      clip_norm: 0.5, noise_multiplier: 1, ...BUDGET, clip_quantile: null, clip_share: 0.01, clip_learning_rate: 0.2,
      ...SERVER,
    },
    make: dpFedavg,
  },
  dp_ftrl: {
    options: { clip_norm: 0.5, noise_multiplier: 4, ...BUDGET, bands: 8n, horizon: 100n, ...SERVER }, make: dpFtrl,
  },
  secure_dp_fedavg: {
    options: {
      clip_norm: 0.5, noise_multiplier: 4, ...BUDGET, bits: 16n, value_range: null, noise: "gaussian", ...MASK,
      ...SERVER,
    },
    make: secureDpFedavg,
  },
  scaffold: { options: { server_learning_rate: 1 }, make: scaffold },
  fednova: { options: { server_learning_rate: 1 }, make: fednova },
  feddyn: { options: { alpha: 0.01 }, make: feddyn },
  fedper: { options: { layers: 1n }, make: fedper },
  fedbn: { options: {}, make: fedbn },
  fedbuff: { options: {}, make: inSimulations("fedbuff") },
  fedasync: { options: {}, make: inSimulations("fedasync") },
};

/** Presets whose replies count as they arrive, which no real federation has. */
function inSimulations(name: string): Preset["make"] {
  return () => {
    throw new RangeError(`${name} counts replies as they arrive, and a real federation trains in rounds only`);
  };
}

/** The clients of these do what FedAvg's do. */
function onTheServer(name: string, check: (options: Options) => void): Preset["make"] {
  return (options, parts) => {
    check(options);
    return assemble(name, parts);
  };
}

function secureFedavg(options: Options, parts: Parts): Strategy {
  const { bits, value_range: range, max_examples: most, corrupt, dropout, min_clients: least, metrics } = options;
  const norm = checks.positive("clip_norm", options.clip_norm);
  checks.integer("max_examples", most, 1, MOST_EXAMPLES);
  if (range !== null) checks.positive("value_range", range);
  const pipeline = pipelineOf(parts), weighted = weightedOf(parts, true) && !pipeline.kinds.includes("weight");
  const masked = chain(
    ...(weighted ? [weightByExamples(most)] : []), clip(norm), ...(pipeline.kinds.length ? [pipeline] : []),
    quantize(checks.integer("bits", bits, 1, 16), "stochastic", "tensor", range ?? norm),
    mask(corrupt, dropout, least, undefined, metrics),
  );
  return assemble("secure_fedavg", { ...parts, pipeline: masked, weighted: false });
}

function dpFedavg(options: Options, parts: Parts): Strategy {
  const { clip_quantile: quantile, clip_share: share, clip_learning_rate: rate } = options;
  const norm = checks.positive("clip_norm", options.clip_norm);
  const multiplier = checks.positive("noise_multiplier", options.noise_multiplier);
  checks.positive("clip_learning_rate", rate);
  checks.inside("clip_share", share);
  if (quantile !== null) checks.inside("clip_quantile", quantile);
  const bound = quantile === null ? clip(norm) : adaptiveClip(norm, quantile, rate, share);
  const sampled = { sampling: poisson(10n, 100n), ...parts };
  return privately("dp_fedavg", [bound, gaussianNoise(multiplier)], options, sampled);
}

function dpFtrl(options: Options, parts: Parts): Strategy {
  const norm = checks.positive("clip_norm", options.clip_norm);
  const multiplier = checks.positive("noise_multiplier", options.noise_multiplier);
  const bands = checks.integer("bands", options.bands, 1), horizon = checks.integer("horizon", options.horizon, 1);
  const steps = [clip(norm), bandedNoise(multiplier, bands, horizon)];
  return privately("dp_ftrl", steps, options, { sampling: cyclic(10n, 100n), ...parts });
}

function secureDpFedavg(options: Options, parts: Parts): Strategy {
  const { value_range: range, corrupt, dropout, min_clients: leastGiven, noise } = options;
  const norm = checks.positive("clip_norm", options.clip_norm);
  const multiplier = checks.positive("noise_multiplier", options.noise_multiplier);
  if (range !== null) checks.positive("value_range", range);
  const bits = checks.integer("bits", options.bits, 8, WIDEST);
  checks.oneOf("noise", noise, ["gaussian", "skellam"]);
  const least = checks.integer("min_clients", leastGiven, 3);
  const secure = new SecureAggregation({
    corrupt: checks.probability("corrupt", corrupt), dropout: checks.probability("dropout", dropout), minClients: least,
  });
  const given = pipelineOf(parts);
  if (given.kinds.length) {
    throw new RangeError(`pipeline is ${given.name}; leave it out and choose bits: the preset sets its own`);
  }
  const sampling = parts.sampling ?? cyclic(BigInt(5 * least), BigInt(50 * least));
  const expected = Math.trunc(sampling.expected || least);
  if (expected < least) {
    throw new RangeError(
      `a cohort has ${expected} clients, and clients refuse cohorts of fewer than ${least} (min_clients): ask more`
        + " clients, or lower min_clients",
    );
  }
  const minHonest = secure.honest(expected), reach = range === null ? norm / 4 : Number(range);
  const most = Math.ceil(1.25 * expected);
  const fitting = [[bits, most], [WIDEST, sampling.mostClients ?? most]]; // a larger cohort fits into the widest ring
  const units = fitting.map(([width, clients]) => unitFor(norm, multiplier, minHonest, width, clients, reach));
  const unit = Math.max(...units), make = noise === "skellam" ? skellamNoise : distributedNoise;
  const steps = [
    clip(norm), randomizedRound(unit, norm, reach), make(multiplier, norm, unit, minHonest, bits <= 16 ? 16 : 32),
    mask(corrupt, dropout, leastGiven),
  ];
  return privately("secure_dp_fedavg", steps, options, { ...parts, sampling });
}

function privately(name: string, steps: readonly Transform[], options: Options, parts: Parts): Strategy {
  checks.inside("delta", options.delta);
  if (options.epsilon !== null) checks.positive("epsilon", options.epsilon);
  checks.oneOf("adjacency", options.adjacency, ["zero_out", "replace"]);
  checkServer(options);
  if (weightedOf(parts, false)) {
    throw new RangeError("weighted is True: a weight scales a clipped update past its bound; leave it out");
  }
  const pipeline = before(steps, pipelineOf(parts));
  return assemble(name, { ...parts, pipeline, weighted: false }, { budget: true });
}

function fedper({ layers }: Options, parts: Parts): Strategy {
  const number = checks.integer("layers", layers, 1);
  if (number !== 1 && parts.personal !== undefined) {
    throw new RangeError(`layers is ${number}, and personal is ${repr(parts.personal)}; give one of them`);
  }
  return assemble("fedper", { personal: [`last(${number})`], ...parts });
}

function fedbn(_: Options, parts: Parts): Strategy {
  const others = patternsOf(parts.personal === undefined ? [] : parts.personal).filter((pattern) => pattern !== NORMS);
  return assemble("fedbn", { ...parts, personal: [NORMS, ...others] });
}

function checkServer(options: Options): void {
  checks.positive("server_learning_rate", options.server_learning_rate);
  checks.probability("server_momentum", options.server_momentum);
}

function checkAdaptive(options: Options): void {
  checks.positive("server_learning_rate", options.server_learning_rate);
  checks.probability("beta_2", options.beta_2);
  checks.positive("tau", options.tau);
  checks.probability("beta_1", options.beta_1);
}
