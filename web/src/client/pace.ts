/** How many local steps a client takes in a round that has a time budget (`hedgerow.client.pace`). */

import { type LocalTraining, STEPS_TAKEN } from "../training.ts";
import type { Arrays, Fit } from "../types.ts";

/** The part of a client's state that holds its estimate of a step's time. */
export const PACE = "pace";

/** Steps that are timed before the first round, after one that is not, because the first is slower. */
const FEW = 3;
/** The weight of a round's step time in the moving estimate. */
const NEW = 0.5;
/** No step takes fewer seconds, whatever a coarse clock says. */
const LEAST = 1e-9;
const ESTIMATE = "step_seconds";

/** Trains with at most so many steps; 0 takes all. */
export type Train = (most: number) => Promise<Fit>;

/** Seconds since some moment. */
export type Clock = () => number;

export const CLOCK: Clock = () => performance.now() / 1000;

/** One client's steps in one round. */
export class Pace {
  readonly #now: Clock;
  readonly #local: LocalTraining;
  #estimate: number | undefined;

  /** @param before what an earlier round's `kept` was. */
  constructor(now: Clock, local: LocalTraining, before: Arrays) {
    this.#now = now;
    this.#local = local;
    this.#estimate = (before.get(ESTIMATE) as Float64Array | undefined)?.[0];
  }

  /** What the client keeps for its next round. */
  get kept(): Arrays {
    return new Map(this.#estimate === undefined ? [] : [[ESTIMATE, Float64Array.of(this.#estimate)]]);
  }

  /** Train for as many steps as fit into the budget, at least one; the fit says how many it took. */
  async trained(samples: number, train: Train): Promise<Fit> {
    const most = this.#local.steps(samples);
    let left = this.#local.timeBudget;
    if (this.#estimate === undefined) {
      const [estimate, spent] = await this.#ahead(most, train);
      this.#estimate = estimate;
      left -= spent;
    }
    const limit = Math.max(1, Math.min(most, Math.trunc(left / Math.max(this.#estimate, LEAST))));
    const started = this.#now(), fit = await train(limit), seconds = (this.#now() - started) / limit;
    this.#estimate += NEW * (seconds - this.#estimate);
    return { ...fit, steps: limit, metrics: new Map([...fit.metrics, [STEPS_TAKEN, limit / most]]) };
  }

  /** Time a few steps whose result is discarded: seconds of one, and of all that this took. */
  async #ahead(most: number, train: Train): Promise<[number, number]> {
    const began = this.#now(), few = Math.min(FEW, most);
    await train(1);
    const started = this.#now();
    await train(few);
    const ended = this.#now();
    return [(ended - started) / few, ended - began];
  }
}
