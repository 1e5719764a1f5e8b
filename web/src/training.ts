/** How a client trains on its data in a round (`hedgerow.types.training`). */

import * as checks from "./checks.ts";
import type { Json } from "./wire/text.ts";
import { general, type Number_, represented, repr } from "./wording.ts";

/** The metric of a client with a time budget: its share of `LocalTraining.steps`. */
export const STEPS_TAKEN = "steps_taken";

/** Every field with its default, in the order of the hash; a whole number stays apart from a float, as in Python. */
const USUAL = {
  optimizer: "sgd", learning_rate: 0.1, learning_rate_decay: 1, epochs: 1n, batch_size: 10n, max_steps: 0n,
  time_budget: 0, momentum: 0, weight_decay: 0, proximal: 0, clip_gradient: 0, clip_samples: 0,
  sample_gradients: "auto", sample_noise: 0, sample_rate: 0, sample_delta: 0, sample_epsilon: 0,
  sample_adjacency: "zero_out",
} as const;

export type Field = keyof typeof USUAL;
type Given = Readonly<Partial<Record<Field, Json>>>;

/** Names of the fields, as a description has them. */
export const FIELDS = Object.keys(USUAL) as Field[];

const NEWER: readonly Field[] = ["max_steps", "time_budget"];
const CHOICES: readonly Field[] = [
  "momentum", "weight_decay", "proximal", "clip_gradient", "clip_samples", "sample_noise",
];

/** Fields as a description gives them; throws `RangeError` if one is out of range, or they contradict each other. */
export class LocalTraining {
  /** Every field as it was given. */
  readonly fields: Readonly<Record<Field, Json>>;
  readonly optimizer: string;
  readonly learningRate: number;
  readonly learningRateDecay: number;
  readonly epochs: number;
  /** 0 takes all of the client's samples in one batch. */
  readonly batchSize: number;
  /** 0 for no limit. */
  readonly maxSteps: number;
  /** Seconds; 0 for no limit. */
  readonly timeBudget: number;
  readonly momentum: number;
  readonly weightDecay: number;
  readonly proximal: number;
  readonly clipGradient: number;
  readonly clipSamples: number;
  readonly sampleGradients: string;
  readonly sampleNoise: number;
  readonly sampleRate: number;
  readonly sampleDelta: number;
  readonly sampleEpsilon: number;
  readonly sampleAdjacency: string;

  constructor(given: Given = {}) {
    const fields = { ...USUAL, ...given } as Record<Field, Json>;
    this.fields = fields;
    this.optimizer = checks.oneOf("optimizer", fields.optimizer, ["sgd", "adam"]);
    this.learningRate = checks.positive("learning_rate", fields.learning_rate);
    this.learningRateDecay = checks.fraction("learning_rate_decay", fields.learning_rate_decay);
    this.epochs = checks.integer("epochs", fields.epochs, 1);
    this.batchSize = checks.integer("batch_size", fields.batch_size, 0);
    this.maxSteps = checks.integer("max_steps", fields.max_steps, 0);
    this.timeBudget = checks.notNegative("time_budget", fields.time_budget);
    this.momentum = checks.probability("momentum", fields.momentum);
    if (this.momentum && this.optimizer === "adam") {
      const text = repr(fields.momentum);
      throw new RangeError(`momentum is ${text}; adam has its own: leave it out, or take optimizer 'sgd'`);
    }
    this.weightDecay = checks.notNegative("weight_decay", fields.weight_decay);
    this.proximal = checks.notNegative("proximal", fields.proximal);
    this.clipGradient = checks.notNegative("clip_gradient", fields.clip_gradient);
    this.clipSamples = checks.notNegative("clip_samples", fields.clip_samples);
    this.sampleNoise = checks.notNegative("sample_noise", fields.sample_noise);
    this.sampleEpsilon = checks.notNegative("sample_epsilon", fields.sample_epsilon);
    this.sampleRate = checks.notNegative("sample_rate", fields.sample_rate);
    this.sampleDelta = checks.notNegative("sample_delta", fields.sample_delta);
    this.sampleAdjacency = checks.oneOf("sample_adjacency", fields.sample_adjacency, ["zero_out", "replace"]);
    this.sampleGradients = checks.oneOf("sample_gradients", fields.sample_gradients, ["auto", "opacus", "hedgerow"]);
    if (this.sampleGradients !== "auto" && !this.clipSamples) {
      throw new RangeError(
        `sample_gradients is ${represented(this.sampleGradients)}; it goes with clip_samples, which must then be`
          + " above 0",
      );
    }
    this.#checkPrivate();
  }

  #checkPrivate(): void {
    if (this.sampleRate) checks.fraction("sample_rate", this.sampleRate);
    if (this.sampleDelta) checks.inside("sample_delta", this.sampleDelta);
    if (this.sampleNoise) {
      if (this.timeBudget) {
        throw new RangeError(
          `time_budget is ${general(this.timeBudget)}; it must be 0, for no limit, with sample_noise: how long a step`
            + " takes tells how many samples were drawn for it; take max_steps",
        );
      }
      if (!(this.clipSamples && this.sampleRate && this.sampleDelta && this.batchSize)) {
        throw new RangeError(
          `sample_noise is ${repr(this.fields.sample_noise)}; with it, clip_samples (such as 1.0), sample_rate,`
            + " sample_delta and batch_size must be above 0",
        );
      }
      return;
    }
    if (this.sampleAdjacency !== "zero_out") {
      throw new RangeError(
        `sample_adjacency is ${represented(this.sampleAdjacency)}; it goes with sample_noise, which must then be above`
          + " 0",
      );
    }
    for (const name of ["sample_rate", "sample_delta", "sample_epsilon"] as const) {
      const value = this.fields[name] as Number_;
      if (Number(value)) {
        throw new RangeError(`${name} is ${repr(value)}; it goes with sample_noise, which must then be above 0`);
      }
    }
  }

  /** The names of what a trainer must support beyond plain SGD. */
  get needs(): Set<string> {
    const named = [this.optimizer, this.sampleGradients].filter((name) => name === "adam" || name === "opacus");
    const fewer = this.maxSteps || this.timeBudget ? ["max_steps"] : [];
    return new Set([...named, ...fewer, ...CHOICES.filter((name) => Number(this.fields[name] as Number_))]);
  }

  /** Names for the conditions of a strategy's parts: the optimizer, and `needs`. */
  get traits(): Set<string> {
    return new Set([...this.needs, this.optimizer]);
  }

  /** As Python writes it, without newer fields at their default: what the strategy's hash is made of. */
  get listed(): string {
    const shown = FIELDS.filter((name) => !NEWER.includes(name) || Number(this.fields[name] as Number_));
    return `LocalTraining(${shown.map((name) => `${name}=${this.#written(name)}`).join(", ")})`;
  }

  /** A field as Python's `repr` has it; a default is a whole number only where Python's is. */
  #written(name: Field): string {
    return repr(this.fields[name]);
  }

  /** Step size of a round, counted from 1. */
  learningRateAt(round: number): number {
    return this.learningRate * power(this.learningRateDecay, round - 1);
  }

  /** Number of steps in a round of a client with so many samples. */
  steps(numExamples: number): number {
    const epoch = this.sampleNoise
      ? Math.ceil(1 / this.sampleRate) : Math.ceil(numExamples / (this.batchSize || numExamples));
    return this.maxSteps ? Math.min(this.epochs * epoch, this.maxSteps) : this.epochs * epoch;
  }

  /** The same with other fields. */
  with(changed: Given): LocalTraining {
    return new LocalTraining({ ...this.fields, ...changed });
  }

  /** The same with at most this many steps in a round; 0 changes nothing. */
  atMost(steps: number): LocalTraining {
    return steps ? this.with({ max_steps: BigInt(steps) }) : this;
  }
}

/** `base ** exponent` for a base from 0 to 1, rounded once: engines differ in the last bit of `**`. */
export function power(base: number, exponent: number): number {
  let high = 1, low = 0, [bh, bl] = [base, 0];
  for (let left = exponent; left > 0; left = Math.floor(left / 2)) {
    if (left % 2) [high, low] = product(high, low, bh, bl);
    [bh, bl] = product(bh, bl, bh, bl);
  }
  return high + low;
}

/** The product of two numbers, each a sum of two doubles (Dekker 1971). */
function product(ah: number, al: number, bh: number, bl: number): [number, number] {
  const high = ah * bh;
  if (!(Math.abs(high) > 1e-280)) return [high, 0]; // parts of smaller ones would be denormal
  const [a1, a2] = halves(ah), [b1, b2] = halves(bh);
  const rest = a1 * b1 - high + a1 * b2 + a2 * b1 + a2 * b2 + (ah * bl + al * bh);
  const sum = high + rest;
  return [sum, rest - (sum - high)];
}

function halves(value: number): [number, number] {
  const wide = value * 134217729, high = wide - (wide - value);
  return [high, value - high];
}
