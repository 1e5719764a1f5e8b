/** Local training with ONNX Runtime, by the graphs that `hedgerow export` writes. */

import { EVALUATE, type Graphs, TRAIN } from "../../graphs/bundle.ts";
import { BadGraphs } from "../../graphs/errors.ts";
import { type Signature, signatureOf } from "../../graphs/signature.ts";
import { same } from "../../graphs/values.ts";
import type { LocalTraining } from "../../training.ts";
import type { Fit, Layout, Model, Vector } from "../../types.ts";
import type { AnySamples } from "../fitting.ts";
import type { Options, Trainer, Where } from "../trainer.ts";
import { Evaluator } from "./evaluator.ts";
import { Fitter } from "./fitter.ts";
import { Kept } from "./kept.ts";
import { open as usual, type Open } from "./session.ts";

/**
 * A trainer for one model, loss and way of training: those of the graphs.
 *
 * Samples come in the order of Python's trainers, in the same batches, and what dropout keeps is drawn alike;
 * results differ by rounding. The optimizer starts afresh in every `fit`.
 */
export class OnnxTrainer implements Trainer {
  readonly name = "OnnxTrainer";
  /** Exactly what the graph has. */
  readonly supports: ReadonlySet<string>;
  readonly layout: Layout;
  readonly #graphs: readonly [Kept, Kept];
  readonly #evaluator: Evaluator;
  readonly #fitter: Fitter;

  /** Throws `BadGraphs` if the manifest does not say what a trainer must know, or the graphs do not belong together. */
  constructor(graphs: Graphs, open: Open = usual) {
    const train = signatureOf(graphs.manifestOf(TRAIN), "train");
    const evaluate = signatureOf(graphs.manifestOf(EVALUATE), "evaluate");
    for (const name of ["x", "y"] as const) {
      if (same(train.input(name).shape.slice(1), evaluate.input(name).shape.slice(1))) continue;
      throw new BadGraphs(`the two graphs take ${name} of different shapes; export them together`);
    }
    if (train.dtype !== "float32" || evaluate.dtype !== "float32") {
      throw new BadGraphs(`the graphs compute in ${train.dtype} and ${evaluate.dtype}; a trainer needs float32`);
    }
    if (told(train) !== told(evaluate)) {
      throw new BadGraphs("the two graphs are of different models; export them together");
    }
    this.layout = train.layout;
    this.#graphs = [new Kept(graphs.train, train, open), new Kept(graphs.evaluate, evaluate, open)];
    this.#evaluator = new Evaluator(this.#graphs[1]);
    this.#fitter = new Fitter(this.#graphs[0], this.#evaluator.form);
    this.supports = new Set([...this.#fitter.supports, "outputs"]);
  }

  /** Throws `RangeError`: a graph holds no values of a model. */
  async initial(_seed: bigint): Promise<Model> {
    throw new RangeError("a graph holds no values to start from; take the server's model, or make one where torch is");
  }

  /** Train a copy of the model on one client's data. */
  fit(model: Model, data: AnySamples, local: LocalTraining, where: Where, options?: Options): Promise<Fit> {
    return this.#fitter.fit(model, data, local, where, options);
  }

  /** Loss and metrics of a model: means over the samples. */
  evaluate(model: Model, data: AnySamples): Promise<Map<string, number>> {
    return this.#evaluator.evaluate(model, data);
  }

  /** A model's outputs for samples of a shape, one after another. Throws `RangeError` if there are none. */
  outputs(model: Model, inputs: AnySamples["inputs"], shape: readonly number[]): Promise<Vector> {
    return this.#evaluator.outputs(model, inputs, shape);
  }

  /** Free both graphs, once nobody uses them any more; they are loaded again when they are needed. */
  async release(): Promise<void> {
    for (const graph of this.#graphs) await graph.release();
  }
}

function told({ layout: { parameters, buffers, constants, norms } }: Signature): string {
  return JSON.stringify([parameters, buffers, constants, norms]);
}
