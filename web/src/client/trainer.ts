/** The interface for training and evaluating a model on a client's data (`hedgerow.client.trainer`). */

import type { Samples } from "../data/own_data.ts";
import type { Offer } from "../graphs/offer.ts";
import type { Described } from "../recipe/announcement.ts";
import type { LocalTraining } from "../training.ts";
import type { Arrays, Bytes, Fit, Layout, Model, Vector } from "../types.ts";

/** Where a fit belongs: with its samples, this decides all randomness. */
export interface Where {
  readonly seed: bigint;
  /** From 1. */
  readonly round: number;
  /** Stable name. */
  readonly client: string;
}

/** What a trainer takes only if it declares it. */
export interface Options {
  /** Added to every step's gradient, `(d,) float32`; of `"correction"`. */
  readonly correction?: Vector;
  /** The client's state of its last fit; of `"state"`. */
  readonly state?: Arrays;
}

/** Trains and evaluates one task; nothing is remembered between calls. */
export interface Trainer {
  /** For errors, such as `OnnxTrainer`. */
  readonly name: string;
  /** What it supports beyond plain SGD, by the names of `hedgerow.client.trainer`. */
  readonly supports: ReadonlySet<string>;
  readonly layout: Layout;
  /** The model before the first round, where personal layers start. */
  initial(seed: bigint): Promise<Model>;
  /** Train a copy of the model, in `local.steps(n)` steps. Throws `RangeError`, and `Diverged`. */
  fit(model: Model, samples: Samples, local: LocalTraining, where: Where, options?: Options): Promise<Fit>;
  /** Loss and metrics of a model: means over the samples. */
  evaluate(model: Model, samples: Samples): Promise<ReadonlyMap<string, number>>;
}

/** Training ended with values that are not finite. */
export class Diverged extends RangeError {}

/** Graphs with their manifest, as they travel; fetched once, and kept by their hash. */
export interface GraphSource {
  /** Throws `Refused` (`NoGraphs`) if the coordinator has others or none, and what the network throws. */
  get(offer: Offer): Promise<Bytes>;
}

/** A trainer of a run, and where its personal layers start. */
export interface Made {
  readonly trainer: Trainer;
  readonly start?: Model;
}

/**
 * Makes a run's trainer from graphs that the device's policy takes. Throws `Refused` (`AgainstPolicy`, with a text
 * that begins with `rule graphs: `) if they are not what they must be, or would take more than so many bytes.
 */
export type MakeTrainer = (run: Described, graphs: Bytes, most: number) => Promise<Made>;
