/** The trainer of `tests/golden/client_vectors.py`, and its clients' samples: sums are exact, and rounded once. */

import type { Samples } from "../src/data/own_data.ts";
import type { Options, Trainer, Where } from "../src/client/trainer.ts";
import type { LocalTraining } from "../src/training.ts";
import { type Arrays, type Fit, Layout, type Model, type Tensor, type Vector } from "../src/types.ts";

/** Moves each value to the mean of the samples, less a correction, plus how often it was called if it keeps that. */
export class Exact implements Trainer {
  readonly name = "Exact";
  readonly supports: ReadonlySet<string>;
  readonly layout: Layout;
  /** What it was asked to do. */
  readonly asked: { local: LocalTraining; where: Where }[] = [];

  constructor(layout: Layout, keeps = false) {
    this.layout = layout;
    this.supports = new Set(["correction", "max_steps", "momentum", "proximal", ...(keeps ? ["state"] : [])]);
  }

  async initial(): Promise<Model> {
    const { dimension, bufferSize } = this.layout;
    return { parameters: values(dimension, 3), buffers: values(bufferSize, 5), constants: new Float32Array(0) };
  }

  async fit(model: Model, samples: Samples, local: LocalTraining, where: Where, options: Options = {}): Promise<Fit> {
    this.asked.push({ local, where });
    const { correction, state } = options, n = samples.targets.length, d = this.layout.dimension;
    let delta: Vector = model.parameters.map((value, i) => {
      let sum = 0;
      for (let row = 0; row < n; row++) sum += samples.inputs[row * d + i];
      return Math.fround(sum / n) - value;
    });
    if (correction) delta = delta.map((value, i) => value - correction[i]);
    let after: Arrays | undefined;
    if (state) {
      const seen = ((state.get("seen") as BigInt64Array | undefined)?.[0] ?? 0n) + 1n;
      after = new Map([["seen", BigInt64Array.of(seen)]]);
      delta = delta.map((value) => value + Math.fround(Number(seen) / 64));
    }
    const buffers = model.buffers.map((value) => value + 0.25);
    return { delta, buffers, numExamples: n, metrics: told(delta), state: after };
  }

  async evaluate(model: Model, samples: Samples): Promise<ReadonlyMap<string, number>> {
    return told(model.parameters.map((value, i) => samples.inputs[i] - value));
  }
}

/** Multiples of 2**-7 from -1 to 1. */
export function values(n: number, factor: number): Vector {
  return Float32Array.from({ length: n }, (_, i) => ((i * i * factor + i * 31 + factor) % 257) / 128 - 1);
}

/** A client's own: as many as its name has letters, or two that it holds out. */
export function samplesOf(layout: Layout, client: string, heldOut = false): Samples {
  const n = heldOut ? 2 : client.length, inputs = values(n * layout.dimension, 11 * client.length + Number(heldOut));
  return { inputs, targets: new BigInt64Array(n), shape: [layout.dimension] };
}

/** A layout as the vectors have it. */
export function layoutOf(told: Record<"parameters" | "buffers" | "constants" | "norms", readonly string[]>): Layout {
  const tensors = (texts: readonly string[]): Tensor[] => texts.map((text) => {
    const at = text.indexOf(" ");
    return { name: text.slice(0, at), shape: JSON.parse(text.slice(at + 1)) };
  });
  return new Layout(tensors(told.parameters), tensors(told.buffers), tensors(told.constants), told.norms);
}

function told(moved: Vector): ReadonlyMap<string, number> {
  const loss = moved.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const right = moved.reduce((count, value) => count + Number(value > 0), 0);
  return new Map([["loss", loss], ["accuracy", right / moved.length]]);
}
