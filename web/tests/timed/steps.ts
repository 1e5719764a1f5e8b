/** Steps of local training by a model's graphs, to be timed in node and in a browser's worker alike. */

import type { AnySamples } from "../../src/client/fitting.ts";
import { OnnxTrainer } from "../../src/client/onnx/trainer.ts";
import { EVALUATE, Graphs, MANIFEST, TRAIN } from "../../src/graphs/bundle.ts";
import { inspect } from "../../src/graphs/inspection.ts";
import { type Signature, signatureOf } from "../../src/graphs/signature.ts";
import { generator } from "../../src/rng.ts";
import { LocalTraining } from "../../src/training.ts";
import { type Bytes, product, type Vector } from "../../src/types.ts";

const NONE = new Float32Array(0), WHERE = { seed: 0n, round: 1, client: "a" };

/** The files of a model, as `benchmarks/devices/run.py --export` has written them, by name. */
export type Read = (name: string) => Promise<Bytes> | Bytes;

/** A model that trains on made-up samples. */
export class Steps {
  readonly #graphs: Graphs;
  readonly #signature: Signature;
  readonly #parameters: Vector;
  #trainer: OnnxTrainer | undefined;

  private constructor(graphs: Graphs, values: Bytes) {
    this.#graphs = graphs;
    this.#signature = signatureOf(graphs.manifestOf(TRAIN), "train");
    this.#parameters = new Float32Array(values.slice(values.length - 4 * this.#signature.layout.dimension).buffer);
  }

  static async of(read: Read): Promise<Steps> {
    const [described, train, evaluate] = await Promise.all([MANIFEST, TRAIN, EVALUATE].map(async (name) => read(name)));
    return new Steps(new Graphs(described, train, evaluate), await read("parameters.npy"));
  }

  /** Inspect and load the graphs, and make the first step. */
  async begin(): Promise<void> {
    inspect(this.#graphs, 2 ** 31);
    this.#trainer = new OnnxTrainer(this.#graphs);
    await this.#fit(this.#samples(1));
  }

  /** An epoch of so many steps. */
  epoch(steps: number): () => Promise<void> {
    const data = this.#samples(steps);
    return () => this.#fit(data);
  }

  async #fit(data: AnySamples): Promise<void> {
    const local = new LocalTraining({ ...this.#signature.local?.fields, learning_rate: 0.05 });
    await this.#trainer?.fit({ parameters: this.#parameters, buffers: NONE, constants: NONE }, data, local, WHERE);
  }

  #samples(batches: number): AnySamples {
    const x = this.#signature.inputs.get("x"), draws = generator(0, "samples"), [rows, ...shape] = x?.shape ?? [];
    const n = rows * batches, size = n * product(shape), classes = this.#classes();
    const whole = (length: number) => BigInt64Array.from({ length }, () => BigInt(draws.word() % classes));
    const values = Float32Array.from({ length: x?.dtype === "int64" ? 0 : size }, () => 2 * draws.float() - 1);
    return { inputs: x?.dtype === "int64" ? whole(size) : values, targets: whole(n), shape };
  }

  #classes(): number {
    return signatureOf(this.#graphs.manifestOf(EVALUATE), "evaluate").outputs.get("outputs")?.shape[1] ?? 2;
  }
}
