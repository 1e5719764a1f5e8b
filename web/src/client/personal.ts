/** A client's personal layers: trained and kept where its data is, and never sent (`hedgerow.client.personal`). */

import type { Split } from "../strategies/split.ts";
import type { Strategy } from "../strategies/strategy.ts";
import type { Arrays, Fit, Layout, Model, Vector } from "../types.ts";
import type { State } from "./state.ts";
import type { Trainer } from "./trainer.ts";

/** The part of a client's state that holds its personal layers. */
export const LAYERS = "layers";

/** The personal layers of a strategy's clients; without any, a client's model is what the server sends. */
export class PersonalLayers {
  /** What is sent, and what stays. */
  readonly split: Split;
  readonly #trainer: Trainer;
  readonly #given: Model | undefined;
  #made: { seed: bigint; first: Model } | undefined;

  /**
   * Throws `RangeError` if the layers do not fit the model.
   *
   * @param initial the model before the first round; by default the one that the trainer makes.
   */
  constructor(trainer: Trainer, strategy: Strategy, initial?: Model) {
    this.#trainer = trainer;
    this.#given = initial;
    this.split = strategy.split(trainer.layout);
  }

  /** The layout of what is sent. */
  get layout(): Layout {
    return this.split.shared;
  }

  /** What is sent of a fit, and the client's new personal layers. Throws `RangeError` if they would not be finite. */
  async leave(fit: Fit, before: State, seed: bigint): Promise<[Fit, State]> {
    if (!this.split.personal.size) return [fit, new Map()];
    const own = this.split.ownAfter(await this.#own(before, seed), fit);
    if (!own.parameters.every(Number.isFinite) || !own.buffers.every(Number.isFinite)) {
      throw new RangeError("training made the personal layers infinite or NaN; they stay as they were");
    }
    const kept: Arrays = new Map([["parameters", own.parameters], ["buffers", own.buffers]]);
    return [this.split.sharedFit(fit), new Map([[LAYERS, kept]])];
  }

  /** A client's full model. Throws `RangeError` if the layers that it has kept belong to another one. */
  async whole(model: Model, state: State, seed: bigint): Promise<Model> {
    return this.split.personal.size ? this.split.join(model, await this.#own(state, seed)) : model;
  }

  /** A correction of the sent parameters, with zeros for the personal ones. */
  spread(correction: Vector): Vector {
    return this.split.spread(correction);
  }

  /** The client's personal layers; initially those of the initial model. */
  async #own(state: State, seed: bigint): Promise<Model> {
    const first = await this.#first(seed), kept = state.get(LAYERS);
    if (!kept) return first;
    const part = (name: "parameters" | "buffers"): Vector => {
      const values = kept.get(name), size = first[name].length;
      if (values instanceof Float32Array && values.length === size) return values;
      throw new RangeError(
        `the client's own layers have ${name} ${values?.length ?? "none"}, the model has personal ones ${size}: the`
          + " model has changed since; delete the client's state",
      );
    };
    return { ...first, parameters: part("parameters"), buffers: part("buffers") };
  }

  async #first(seed: bigint): Promise<Model> {
    if (this.#made?.seed !== seed) {
      const first = this.split.ownPart(this.#given ?? await this.#trainer.initial(seed));
      this.#made = { seed, first };
    }
    return this.#made.first;
  }
}
