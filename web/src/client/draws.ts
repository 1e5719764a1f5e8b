/**
 * What dropout keeps: zeros and ones that every trainer draws alike (`hedgerow.client.draws`).
 *
 * Values lie sample by sample, whatever the tensor's own order of dimensions is. Only samples are drawn for, so
 * that a batch that is filled up takes from the stream what it would take without.
 */

import { generator, type Generator } from "../rng.ts";
import { product } from "../types.ts";
import type { Where } from "./trainer.ts";

/** A draw for a batch that may be filled up. */
export interface Draw {
  /** Of the tensor. */
  readonly shape: readonly number[];
  /** Of a one, from 0 to 1. */
  readonly probability: number;
  /** The dimension that counts the samples, if one does: it has `rows` entries, or a multiple. */
  readonly axis?: number;
}

/** The draws of one client in one round, one after another. */
export class Draws {
  readonly #words: Generator;

  constructor({ seed, round, client }: Where) {
    this.#words = generator(seed, "dropout", { round, client });
  }

  /** The next draw, in the tensor's order, for so many samples in so many rows; the other rows are all ones. */
  mask({ shape, probability, axis }: Draw, rows: number, samples: number): Uint8Array<ArrayBuffer> {
    const all = product(shape);
    const count = axis === undefined ? all : (all / rows) * samples, kept = new Uint8Array(all).fill(1);
    const halves = new Uint32Array(this.#words.raw(Math.ceil(count / 2)).buffer);
    const limit = Math.floor(probability * 2 ** 32);
    for (let k = 0; k < count; k++) kept[k] = halves[k] < limit ? 1 : 0;
    return axis ? moved(kept, shape, axis) : kept;
  }
}

/** Values that lie by a dimension first, in the order of the dimensions. */
function moved(values: Uint8Array<ArrayBuffer>, shape: readonly number[], axis: number): Uint8Array<ArrayBuffer> {
  const outer = product(shape.slice(0, axis)), inner = product(shape.slice(axis + 1)), sides = shape[axis];
  const found = new Uint8Array(values.length);
  for (let side = 0; side < sides; side++) {
    for (let before = 0; before < outer; before++) {
      const from = (side * outer + before) * inner;
      found.set(values.subarray(from, from + inner), (before * sides + side) * inner);
    }
  }
  return found;
}
