/** A device for tests: its run, described as a server would, and what it answers with. */

import { type Parts, Responder } from "../src/client/responder.ts";
import { Policy, type Rules } from "../src/client/policy.ts";
import { GraphRules } from "../src/client/graph_rules.ts";
import type { Trainer } from "../src/client/trainer.ts";
import { Outbox } from "../src/node/outbox.ts";
import { MemoryStore } from "../src/node/store.ts";
import { digestOf, RECORD } from "../src/recipe/announcement.ts";
import { identityOf } from "../src/secure/identity.ts";
import type { Bytes, Layout } from "../src/types.ts";
import { VERSION } from "../src/version.ts";
import { decode } from "../src/wire/codec.ts";
import { ConfigRecord, type Content } from "../src/wire/content.ts";
import { Exact, layoutOf, samplesOf } from "./exact.ts";
import { bytes, hex, vectors } from "./support.ts";

export const CLIENT = "kitchen", RUN = "5eed".repeat(8);
const HASH = "c".repeat(64);

/** A recorded conversation of `vectors/answers.json`. */
export function recorded(kind: "alone" | "masked", name: string): any {
  return vectors("answers")[kind][name];
}

/** A policy that takes the run's graphs, and these rules. */
export function policyOf(rules: Partial<Rules> = {}): Policy {
  return new Policy({ graphs: new GraphRules({ hashes: [HASH], in_the_clear: true }), ...rules });
}

/** Rules of a device that answers in the clear. */
export const OPEN: Partial<Rules> = {
  masked_only: false, evaluate: true, statistics: true, min_clients: 3, corrupt: 0, failure_bits: 20,
};

/** A run's description, with fields changed. */
export function described(told: any, changed: object = {}): string {
  const layout = layoutOf(told.layout);
  const text = JSON.stringify({
    strategy: "STRATEGY", task: { kind: "classification", model: { name: "m", arguments: {} }, lora: null },
    data: {
      name: "own", shape: [layout.dimension], classes: ["no", "yes"], held_out: null, held_out_by: "row",
    },
    run: { trainer: "loop", precision: "float32" }, layout: layout.fingerprint, seed: 7,
    graphs: { hash: HASH, size: 100, key: "", signature: "" }, ...changed,
  });
  return text.replace('"STRATEGY"', told.description); // as it is written: 1 is not 1.0
}

/** A message of a run. */
export function asked(
  request: string, description: string, { whole = true, version = VERSION, run = RUN } = {},
): Content {
  const record = new ConfigRecord([["digest", digestOf(description)], ["run", run]]);
  if (whole) record.set("json", description).set("version", version);
  return new Map([...decode(bytes(request)), [RECORD, record]]);
}

/** A device on a store; whatever it does not tell others is in `logged`. */
export class Phone {
  readonly store: MemoryStore;
  readonly trainer: Exact;
  readonly logged: string[] = [];
  readonly responder: Responder;

  constructor(told: any, parts: Partial<Parts> & { made?: Trainer } = {}, store = new MemoryStore()) {
    const layout: Layout = layoutOf(told.layout);
    this.store = store;
    this.trainer = new Exact(layout);
    const keys = Object.entries<string>(told.register ?? {});
    const pinned = new Map(keys.map(([name, key]): [string, Bytes] => [name, bytes(key)]));
    const { made = this.trainer, ...others } = parts;
    this.responder = new Responder({
      name: CLIENT, store, now: () => 1.8e9, seededNoise: true, log: (text) => this.logged.push(text),
      party: async () => ({ identity: identityOf(bytes(told.secret)), pinned, trustOnFirstUse: false }),
      data: { samples: async () => samplesOf(layout, CLIENT) },
      graphs: { get: async () => bytes("00") },
      trainer: async () => ({ trainer: made }),
      policy: async () => policyOf(OPEN),
      ...others,
    });
  }

  /** The answer to a message, in hex digits. */
  async answer(kind: string, content: Content, round = "1"): Promise<string> {
    const key = await this.responder.answer(kind, round, content);
    return hex(await new Outbox(this.store).answer(key) ?? new Uint8Array(0));
  }

  /** How many answers it has recorded. */
  async answers(): Promise<number> {
    return (await this.store.names("answers/")).length;
  }
}
