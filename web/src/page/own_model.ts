/** What the phone computes for its owner alone: the promoted model's answers, and how it does on the test part. */

import { GraphRules } from "../client/graph_rules.ts";
import type { Made, MakeTrainer } from "../client/trainer.ts";
import { holdOut } from "../data/held_out.ts";
import { type OwnData, type Samples, taken } from "../data/own_data.ts";
import { readTable, type Store } from "../node/store.ts";
import type { Phone } from "../phone.ts";
import { floats, readTensors } from "../promotion/tensors.ts";
import { type Described, understand } from "../recipe/announcement.ts";
import type { Bytes, Layout, Model, Tensor, Vector } from "../types.ts";

/** Fetches a run's graphs, or finds those that were fetched. */
export type GraphsOf = (run: Described) => Promise<Bytes>;

/** What a trainer has that can also be asked. */
interface Asked {
  outputs(model: Model, inputs: Float32Array<ArrayBuffer>, shape: readonly number[]): Promise<Vector>;
}

interface Ready {
  readonly hash: string;
  readonly run: Described;
  readonly model: Model;
  readonly trainer: Made["trainer"] & Asked;
}

/** How many samples are held out, and how many of these a model gets right, if they have classes. */
export interface Test {
  readonly held: number;
  readonly all: number;
  readonly accuracy?: number;
  readonly loss?: number;
}

export class OwnModel {
  readonly #store: Store;
  readonly #data: OwnData;
  readonly #graphs: GraphsOf;
  readonly #trainers: MakeTrainer;
  readonly #rules: () => Promise<GraphRules>;
  #ready: Ready | undefined;

  constructor(store: Store, data: OwnData, graphs: GraphsOf, trainers: MakeTrainer, rules: () => Promise<GraphRules>) {
    this.#store = store;
    this.#data = data;
    this.#graphs = graphs;
    this.#trainers = trainers;
    this.#rules = rules;
  }

  /** What the promoted model says of one sample: a probability for each class, or a number. */
  async ask(phone: Phone, sample: Float32Array): Promise<number[]> {
    const { trainer, model, run } = await this.#prepared(phone);
    const outputs = await trainer.outputs(model, Float32Array.from(sample), run.inputShape);
    return run.kind === "classification" ? softmax(outputs) : [...outputs];
  }

  /** The promoted model on the test part, which nobody else learns; nothing if the run holds nothing out. */
  async test(phone: Phone): Promise<Test | undefined> {
    const { trainer, model, run } = await this.#prepared(phone);
    const split = await this.#split(run, phone.name);
    if (!split?.held.targets.length) return split && { held: 0, all: split.all };
    const found = await trainer.evaluate(model, split.held);
    const [accuracy, loss] = ["accuracy", "loss"].map((name) => found.get(name));
    return { held: split.held.targets.length, all: split.all, accuracy, loss };
  }

  /** How many samples the last run holds out; nothing before a run has said how. */
  async heldOut(phone: Phone): Promise<Test | undefined> {
    const digests = (await readTable(this.#store, "descriptions.json"))?.digests as string[] | undefined;
    const text = digests && await this.#store.get(`descriptions/${digests[0]}`);
    const split = text && await this.#split(understand(new TextDecoder().decode(text)), phone.name);
    return split ? { held: split.held.targets.length, all: split.all } : undefined;
  }

  async #split(run: Described, client: string): Promise<{ held: Samples; all: number } | undefined> {
    if (!run.schema || run.heldOut === undefined) return undefined;
    const all = await this.#data.samples(run.schema);
    const [, held] = holdOut(all, { fraction: run.heldOut, by: run.heldOutBy, client, seed: run.seed });
    return { held: taken(all, held), all: all.targets.length };
  }

  async #prepared(phone: Phone): Promise<Ready> {
    const found = await phone.model();
    if (!found) throw new RangeError("there is no promoted model");
    const { promotion, file } = found;
    if (this.#ready?.hash === promotion.model) return this.#ready;
    const run = understand(promotion.description), rules = await this.#rules();
    if (!run.graphs) throw new RangeError("the promoted model's run has no graphs");
    const broken = rules.refusals(run.graphs, true); // nothing of what it computes here is sent
    if (broken.length) throw new RangeError(broken.join("; "));
    const { trainer } = await this.#trainers(run, await this.#graphs(run), rules.megabytes * 2 ** 20);
    const model = modelOf(file, trainer.layout);
    this.#ready = { hash: promotion.model, run, model, trainer: trainer as Ready["trainer"] };
    return this.#ready;
  }
}

/** A model's values in the order of a layout. Throws `PayloadError`, and `RangeError` if a tensor is missing. */
function modelOf(file: Bytes, layout: Layout): Model {
  const saved = readTensors(file);
  const joined = (tensors: readonly Tensor[]): Vector => {
    const parts = tensors.map(({ name, shape }) => {
      const tensor = saved.get(name);
      if (!tensor || String(tensor.shape) !== String(shape)) {
        throw new RangeError(`the promoted model has no tensor '${name}' as the graphs take it`);
      }
      return floats(tensor);
    });
    const values = new Float32Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
      values.set(part, at);
      at += part.length;
    }
    return values;
  };
  return {
    parameters: joined(layout.parameters), buffers: joined(layout.buffers), constants: joined(layout.constants),
  };
}

function softmax(scores: Vector): number[] {
  const most = Math.max(...scores), powers = Array.from(scores, (score) => Math.exp(score - most));
  const sum = powers.reduce((all, each) => all + each, 0);
  return powers.map((each) => each / sum);
}
