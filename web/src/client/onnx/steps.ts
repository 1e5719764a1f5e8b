/** Steps of local training, and measurements of a model, by a graph. */

import { NEW, type Port, type Signature, STATE, SUM } from "../../graphs/signature.ts";
import type { Model, Vector } from "../../types.ts";
import type { Draws } from "../draws.ts";
import { type AnySamples, count } from "../fitting.ts";
import { Batch } from "./batch.ts";
import { type Session, type Tensors, type Values, zeros } from "./session.ts";

type Inputs = Map<string, Values>;

/** One graph with its batch. */
class Runner {
  readonly signature: Signature;
  readonly batch: Batch;
  readonly #session: Session;

  constructor(session: Session, signature: Signature) {
    this.signature = signature;
    this.batch = new Batch(signature);
    this.#session = session;
  }

  /** All that goes in: what is given, which is only read, and zeros for the rest. */
  inputs(given: Readonly<Record<string, Values | undefined>>): Inputs {
    const { batch: { arrays }, signature } = this;
    return new Map([...signature.inputs].map(([name, port]) => {
      return [name, arrays.get(name as "x") ?? given[name] ?? zeros(port)];
    }));
  }

  /** What the graph gives for the samples at these positions. Throws what ONNX Runtime throws. */
  run(inputs: Inputs, data: AnySamples, index: Uint32Array, draws: Draws): Promise<Map<string, Values>> {
    this.batch.take(data, index);
    for (const [name, port] of this.signature.draws) {
      draw(port, inputs.get(name) as Values, this.batch, draws);
    }
    return this.#session.run(inputs);
  }
}

/** The steps of a round, from a model: what one gives is what the next one takes. */
export class Steps {
  readonly #runner: Runner;
  readonly #inputs: Inputs;
  /** Names of what a step changes. */
  readonly #changed: readonly string[];

  /** `correction` is added to every step's gradient, if the graph takes one. */
  constructor(session: Session, signature: Signature, model: Model, learningRate: number, correction?: Vector) {
    this.#runner = new Runner(session, signature);
    const names = ["parameters", "buffers", "constants", ...STATE], rate = Float32Array.of(learningRate);
    this.#changed = names.filter((name) => signature.outputs.has(`${NEW}${name}`));
    this.#inputs = this.#runner.inputs({ ...model, start: model.parameters, learning_rate: rate, correction });
  }

  /** One step on the samples at these positions; their mean loss. Throws what ONNX Runtime throws. */
  async step(data: AnySamples, index: Uint32Array, draws: Draws): Promise<number> {
    const step = this.#inputs.get("step") as BigInt64Array | undefined;
    if (step !== undefined) step[0] += 1n;
    const found = await this.#runner.run(this.#inputs, data, index, draws);
    for (const name of this.#changed) this.#inputs.set(name, found.get(`${NEW}${name}`) as Values);
    return (found.get("loss") as Vector)[0];
  }

  /** What a step changes, such as `parameters`, as it is now. */
  value(name: string): Vector {
    return this.#changed.includes(name) ? (this.#inputs.get(name) as Vector) : new Float32Array(0);
  }
}

/** What a graph gives for a batch, and how many of its rows are samples. */
export interface Measured {
  readonly samples: number;
  readonly found: Tensors;
}

/** Measurements of a model. */
export class Measures {
  readonly #runner: Runner;

  constructor(session: Session, signature: Signature) {
    this.#runner = new Runner(session, signature);
  }

  /** What the graph gives for each batch. Throws what ONNX Runtime throws. */
  async *measure(model: Model, data: AnySamples, draws: Draws): AsyncGenerator<Measured> {
    const inputs = this.#runner.inputs({ ...model }), number = count(data), { rows } = this.#runner.batch;
    for (let first = 0; first < number; first += rows) {
      const samples = Math.min(rows, number - first);
      const index = Uint32Array.from({ length: samples }, (_, k) => first + k);
      yield { samples, found: await this.#runner.run(inputs, data, index, draws) };
    }
  }
}

/** A zero for the loss and for each metric of a graph that evaluates. */
export function totals(signature: Signature): Map<string, number> {
  const metrics = [...signature.outputs.keys()].filter((name) => name.startsWith(SUM));
  return new Map([["loss", 0], ...metrics.map((name): [string, number] => [name.slice(SUM.length), 0])]);
}

function draw({ shape, probability = 0, axis }: Port, into: Values, { rows, samples }: Batch, draws: Draws): void {
  const kept = draws.mask({ shape, probability, axis }, rows, samples);
  if (into instanceof BigInt64Array) kept.forEach((one, k) => (into[k] = BigInt(one)));
  else into.set(kept);
}
