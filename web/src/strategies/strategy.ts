/** A strategy: the parts that decide what a device computes in a round (`hedgerow.strategies.strategy`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import * as checks from "../checks.ts";
import { ringWithin } from "../ring/arithmetic.ts";
import type { LocalTraining } from "../training.ts";
import type { Layout } from "../types.ts";
import { general, represented, tupled } from "../wording.ts";
import { type Aggregate, conditionsOfAggregate, traitsOfAggregate } from "./aggregates.ts";
import { type Condition, firstBroken, needs } from "./conditions.ts";
import { listedPersonal, splitOf } from "./personal.ts";
import { type Transform, traitsOf } from "./pipeline/transform.ts";
import { conditionsOf } from "./protection.ts";
import { type Sampling, traitsOfSampling } from "./sampling.ts";
import type { Split } from "./split.ts";
import { BUFFERS, conditionsOfStream, type Stream } from "./streams.ts";

const USUAL_QUORUM = 0.5, USUAL_NORM_BOUND = 10;
/** The largest sum that a server holds exactly. */
const LARGEST_SUM = 2 ** 26;

const BUDGET = needs(
  ["noise", "discrete noise"],
  "there is a privacy budget, and {pipeline.name} adds no noise; use dp_fedavg, or add gaussian_noise(...) after a"
    + " clip(...)",
);

/** The parts of a strategy. */
export interface Chosen {
  readonly name: string;
  readonly sampling: Sampling;
  readonly local: LocalTraining;
  readonly pipeline: Transform;
  readonly aggregate: Aggregate;
  readonly quorum?: unknown;
  readonly maxWeight?: unknown;
  readonly maxNorm?: unknown;
  readonly normBound?: unknown;
  /** What is sent beside the delta and the buffers. */
  readonly streams: readonly Stream[];
  /** Whether the run has a budget of privacy. */
  readonly budget: boolean;
  /** The layers that stay on each client. */
  readonly personal: readonly string[];
}

/** The parts, checked. Throws `RangeError` if one is out of range, or they do not fit together. */
export class Strategy {
  readonly name: string;
  readonly sampling: Sampling;
  readonly local: LocalTraining;
  readonly pipeline: Transform;
  readonly aggregate: Aggregate;
  readonly streams: readonly Stream[];
  readonly personal: readonly string[];
  /** The traits of all its parts, for the conditions of the others. */
  readonly traits: ReadonlySet<string>;

  constructor(chosen: Chosen) {
    this.name = chosen.name;
    this.sampling = chosen.sampling;
    this.local = chosen.local;
    this.pipeline = chosen.pipeline;
    this.aggregate = chosen.aggregate;
    this.streams = chosen.streams;
    this.personal = chosen.personal;
    const { quorum = USUAL_QUORUM, maxWeight = null, maxNorm = null, normBound = USUAL_NORM_BOUND } = chosen;
    const least = checks.fraction("quorum", quorum);
    if (maxWeight !== null) checks.positive("max_weight", maxWeight);
    if (maxNorm !== null) checks.positive("max_norm", maxNorm);
    const bound = checks.notNegative("norm_bound", normBound);
    if (bound > 0 && bound < 1) {
      throw new RangeError(
        `norm_bound is ${general(bound)}; it must be 0, for none, or 1 or more: half of the clients are above the`
          + " median",
      );
    }
    this.traits = new Set([
      ...(least === USUAL_QUORUM ? [] : ["quorum"]), ...(maxNorm === null ? [] : ["max_norm"]),
      ...([0, USUAL_NORM_BOUND].includes(bound) ? [] : ["norm_bound"]), ...(chosen.budget ? ["budget"] : []),
      ...traitsOf(this.pipeline), ...traitsOfSampling(this.sampling), ...traitsOfAggregate(this.aggregate),
      ...this.local.traits,
    ]);
    const why = firstBroken(this.#conditions(chosen.budget), this);
    if (why) throw new RangeError(why);
    this.#refuseOverflow();
  }

  #conditions(budget: boolean): Condition[] {
    return [
      ...conditionsOfAggregate(this.aggregate), ...this.streams.flatMap(conditionsOfStream),
      ...conditionsOf(this.pipeline.protection), ...(budget ? [BUDGET] : []),
    ];
  }

  #refuseOverflow(): void {
    const { secure, maxSum, maxInt, serverClip } = this.pipeline.protection;
    if (secure && !maxSum) { // the smallest cohort; each round checks its own
      const clients = secure.assumptions.minClients, weight = this.pipeline.maxWeight, largest = maxInt(0);
      const whose = `${clients} clients of weight ${weight} at most and values up to ${largest}`;
      ringWithin(clients * weight * largest, whose);
    }
    if (!this.private || !serverClip) return;
    const most = this.sampling.mostClients ?? 0;
    const largest = (LARGEST_SUM / most) * Math.sqrt(1 - serverClip.share);
    if (serverClip.norm > largest) {
      throw new RangeError(
        `the clip norm is ${general(serverClip.norm)}; at most ${general(largest)} is allowed where a cohort may have`
          + ` ${most.toLocaleString("en-US")} clients, so that their sum stays within`
          + ` ${LARGEST_SUM.toLocaleString("en-US")}: take a smaller clip norm, or ask fewer clients`,
      );
    }
  }

  /** A model's shared and personal tensors. Throws `RangeError` if `personal` does not fit it. */
  split(layout: Layout): Split {
    return splitOf(layout, this.personal);
  }

  /** What a trainer must support beyond plain SGD, by name. */
  get needs(): Set<string> {
    const corrects = this.streams.some(({ correction }) => correction);
    return new Set([...this.local.needs, ...(corrects ? ["correction"] : [])]);
  }

  /** Whether clients keep state from one round to the next. */
  get stateful(): boolean {
    return this.pipeline.stateful || this.streams.length > 0 || this.personal.length > 0 || this.keepsPace;
  }

  /** Whether clients with a time budget keep the time of a step; not if rounds are private. */
  get keepsPace(): boolean {
    return this.local.timeBudget > 0 && !this.private;
  }

  /** The model's buffers, and `streams`. */
  get allStreams(): readonly Stream[] {
    return [BUFFERS, ...this.streams];
  }

  /** Number of values that a client sends in `streams`. */
  sentBeside(layout: Layout): number {
    return this.streams.reduce((total, stream) => total + stream.size(layout), 0);
  }

  /** Whether a single payload must never be decoded. */
  get sumOnly(): boolean {
    return this.pipeline.protection.secure !== undefined;
  }

  /** Whether its rounds are differentially private. */
  get private(): boolean {
    return this.pipeline.protection.noise !== undefined;
  }
}

/** A hash, 64 hex digits, that two strategies share only if a client does the same in both. */
export function strategyHash({ sampling, local, pipeline, streams, personal }: Strategy): string {
  const names = `[${streams.map(({ name }) => represented(name)).join(", ")}]`;
  const parts = [represented(sampling.name), local.listed, represented(pipeline.name), names];
  if (personal.length) parts.push(listedPersonal(personal));
  return bytesToHex(sha256(new TextEncoder().encode(tupled(parts))));
}
