/** Which tensors of a model are sent, and which stay with each client (`hedgerow.types.split`). */

import { type Fit, type Layout, type Model, sizeOf, type Tensor, type Vector } from "../types.ts";

/** Runs of a vector: start, end. */
type Runs = readonly (readonly [number, number])[];

/** A model in two parts: the shared one is sent, the personal one stays; constants are never personal. */
export class Split {
  readonly whole: Layout;
  readonly personal: ReadonlySet<string>;
  /** Layout of the shared part. */
  readonly shared: Layout;
  /** Layout of the personal part. */
  readonly own: Layout;
  readonly #parameters: Cut;
  readonly #buffers: Cut;

  constructor(whole: Layout, personal: ReadonlySet<string>) {
    this.whole = whole;
    this.personal = personal;
    this.shared = whole.select((name) => !personal.has(name));
    this.own = whole.select((name) => personal.has(name));
    this.#parameters = new Cut(whole.parameters, personal);
    this.#buffers = new Cut(whole.buffers, personal);
  }

  /** The personal part of a whole model. */
  ownPart({ parameters, buffers }: Model): Model {
    return {
      parameters: this.#parameters.ownOf(parameters), buffers: this.#buffers.ownOf(buffers),
      constants: new Float32Array(0),
    };
  }

  /** The whole model, from a shared part and a personal one. */
  join(shared: Model, own: Model): Model {
    return {
      parameters: this.#parameters.join(own.parameters, shared.parameters),
      buffers: this.#buffers.join(own.buffers, shared.buffers),
      constants: shared.constants,
    };
  }

  /** The shared part of a fit. */
  sharedFit(fit: Fit): Fit {
    return { ...fit, delta: this.#parameters.sharedOf(fit.delta), buffers: this.#buffers.sharedOf(fit.buffers) };
  }

  /** The personal part after training. */
  ownAfter(own: Model, fit: Fit): Model {
    const moved = this.#parameters.ownOf(fit.delta);
    const parameters = own.parameters.map((value, i) => value + moved[i]);
    return { ...own, parameters, buffers: this.#buffers.ownOf(fit.buffers) };
  }

  /** A vector over the shared parameters, with zeros for the personal ones. */
  spread(vector: Vector): Vector {
    return this.#parameters.join(new Float32Array(this.own.dimension), vector);
  }
}

/** The runs of a vector's personal values, and of its shared ones. */
class Cut {
  readonly #own: Runs;
  readonly #shared: Runs;

  constructor(tensors: readonly Tensor[], personal: ReadonlySet<string>) {
    const own: [number, number][] = [], shared: [number, number][] = [];
    let end = 0;
    for (const tensor of tensors) {
      const start = end;
      end += sizeOf(tensor);
      (personal.has(tensor.name) ? own : shared).push([start, end]);
    }
    this.#own = own;
    this.#shared = shared;
  }

  ownOf(values: Vector): Vector {
    return cut(values, this.#own);
  }

  sharedOf(values: Vector): Vector {
    return this.#own.length ? cut(values, this.#shared) : values;
  }

  join(own: Vector, shared: Vector): Vector {
    if (!this.#own.length) return shared;
    const whole = new Float32Array(own.length + shared.length);
    for (const [runs, values] of [[this.#own, own], [this.#shared, shared]] as const) {
      let at = 0;
      for (const [start, end] of runs) whole.set(values.subarray(at, (at += end - start)), start);
    }
    return whole;
  }
}

function cut(values: Vector, runs: Runs): Vector {
  const found = new Float32Array(runs.reduce((size, [start, end]) => size + end - start, 0));
  let at = 0;
  for (const [start, end] of runs) {
    found.set(values.subarray(start, end), at);
    at += end - start;
  }
  return found;
}
