/** Answers of a small trainer, of logistic regression by one full gradient. */

import type { Device } from "../../src/node/device.ts";
import type { Answering } from "../../src/node/node.ts";
import { keyOf, Outbox } from "../../src/node/outbox.ts";
import { encode } from "../../src/strategies/pipeline/coding.ts";
import { parsePipeline } from "../../src/strategies/pipeline/parse.ts";
import { NO_STATE } from "../../src/strategies/pipeline/transform.ts";
import { Layout, PayloadError, type Vector } from "../../src/types.ts";
import * as codec from "../../src/wire/codec.ts";
import { ConfigRecord, type Content } from "../../src/wire/content.ts";
import { packIdentity, unpackTrain } from "../../src/wire/messages.ts";
import { packEvaluation, packReply } from "../../src/wire/replies.ts";

const RECORD = "hedgerow.description", RATE = 0.1;
const LAYOUT = new Layout([{ name: "linear.weight", shape: [2, 2] }, { name: "linear.bias", shape: [2] }]);

/** Makes what answers from these rows: two inputs, and a class. */
export function answering(rows: readonly (readonly number[])[]): (device: Device) => Answering {
  return (device) => new Small(device, rows);
}

class Small implements Answering {
  readonly #device: Device;
  readonly #outbox: Outbox;
  readonly #rows: readonly (readonly number[])[];

  constructor(device: Device, rows: readonly (readonly number[])[]) {
    this.#device = device;
    this.#outbox = new Outbox(device.store);
    this.#rows = rows;
  }

  async answer(kind: string, _round: string, content: Content): Promise<string> {
    const record = content.get(RECORD);
    if (!(record instanceof ConfigRecord)) throw new PayloadError("the message does not say which run it belongs to");
    const digest = String(record.get("digest")), name = `descriptions/${digest}.json`;
    if (record.has("json")) {
      const text = Uint8Array.from(new TextEncoder().encode(String(record.get("json"))));
      await this.#device.store.put(new Map([[name, text]]));
    }
    const key = keyOf(kind, String(record.get("run")), codec.encode(new Map([...content].filter(([k]) => k !== RECORD))));
    if (await this.#outbox.answer(key) && kind !== "query") return key;
    const text = new TextDecoder().decode(await this.#device.store.get(name));
    await this.#outbox.keep(key, codec.encode(this.#answered(kind, content, JSON.parse(text))));
    return key;
  }

  #answered(kind: string, content: Content, { strategy }: any): Content {
    if (kind === "query") return packIdentity(this.#device.name);
    const { model, round, seed } = unpackTrain(content, LAYOUT), { gradient, loss, hits } = this.#measured(model.parameters);
    const from = { round, client: this.#device.name }, n = this.#rows.length;
    const metrics = new Map([["loss", loss], ["accuracy", hits]]);
    if (kind === "evaluate") return packEvaluation(n, metrics, from);
    const text = strategy.weighted ? `chain(weight_by_examples(), ${strategy.pipeline})` : strategy.pipeline;
    const [payload] = encode(parsePipeline(text), gradient.map((each) => -RATE * each) as Vector, NO_STATE, {
      seed, round, client: this.#device.name, layout: LAYOUT, numExamples: n, seededNoise: false,
    });
    return packReply({ payload, streams: new Map(), numExamples: n, metrics: new Map([["loss", loss]]) }, from);
  }

  #measured(weights: Vector): { gradient: Vector; loss: number; hits: number } {
    const gradient = new Float32Array(weights.length), n = this.#rows.length;
    let loss = 0, hits = 0;
    for (const [x, y, target] of this.#rows) {
      const scores = [0, 1].map((k) => weights[2 * k] * x + weights[2 * k + 1] * y + weights[4 + k]);
      const powers = scores.map(Math.exp), sum = powers[0] + powers[1];
      loss -= Math.log(powers[target] / sum) / n;
      hits += Number((scores[1] > scores[0]) === (target === 1)) / n;
      for (const k of [0, 1]) {
        const error = (powers[k] / sum - Number(k === target)) / n;
        gradient[2 * k] += error * x;
        gradient[2 * k + 1] += error * y;
        gradient[4 + k] += error;
      }
    }
    return { gradient, loss, hits };
  }
}
