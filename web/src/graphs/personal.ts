/**
 * Which layers stay on a device that trains by graphs, and where they start, as the manifest has it.
 *
 * A device without torch cannot make a model, so it is given what its own layers were before the first round.
 */

import type { Split } from "../strategies/split.ts";
import type { Model, Vector } from "../types.ts";
import { isTable, type Json } from "../wire/text.ts";
import { repr, shown } from "../wording.ts";
import type { Graphs } from "./bundle.ts";
import { BadGraphs } from "./errors.ts";

const FLOAT = 4;

/**
 * The model from which a device's personal layers start, if a model has some: only their values are in it, all
 * others are zero. Throws `BadGraphs` if other layers are personal in the graphs, or start in another run.
 */
export function personalStart(graphs: Graphs, split: Split, seed: bigint): Model | undefined {
  const told = graphs.manifest.personal ?? { tensors: [] }, given = isTable(told) ? told.tensors ?? null : told;
  const wanted = [...split.own.parameters, ...split.own.buffers].map(({ name }) => name);
  if (repr(given) !== repr(wanted) || !isTable(told)) {
    throw new BadGraphs(
      `the tensors that stay on a device are ${shown(given)} in the graphs, and ${shown(wanted)} in the run`,
    );
  }
  if (!wanted.length) return undefined;
  if (told.seed !== seed) {
    throw new BadGraphs(
      `personal layers start from the seed ${shown(told.seed)} in the graphs, and ${seed} in the run`,
    );
  }
  const { own, shared } = split, constants = new Float32Array(0);
  const parameters = values(told.parameters, own.dimension), buffers = values(told.buffers, own.bufferSize);
  const zeros = {
    parameters: new Float32Array(shared.dimension), buffers: new Float32Array(shared.bufferSize),
    constants: new Float32Array(shared.constantSize),
  };
  return split.join(zeros, { parameters, buffers, constants });
}

function values(text: Json, size: number): Vector {
  const coded = typeof text === "string" && text.length === 4 * Math.ceil((FLOAT * size) / 3);
  const data = coded && /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? atob(text) : "";
  const found = new Float32Array(Uint8Array.from({ length: data.length }, (_, k) => data.charCodeAt(k)).buffer, 0,
    Math.floor(data.length / FLOAT));
  if (!coded || data.length !== FLOAT * size || !found.every(Number.isFinite)) {
    throw new BadGraphs(`the values of the personal layers are not ${size} finite numbers`);
  }
  return found;
}
