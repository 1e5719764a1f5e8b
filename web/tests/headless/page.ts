/** The page of a phone without a screen, in a thread: what it keeps, its browser keeps for it. */

import { parentPort, workerData } from "node:worker_threads";
import { answersBy } from "../../src/answering.ts";
import { GraphRules } from "../../src/client/graph_rules.ts";
import { trainersBy } from "../../src/client/onnx/make.ts";
import { Policy, type Rules } from "../../src/client/policy.ts";
import { Entries } from "../../src/data/entries.ts";
import { KeptData } from "../../src/data/kept_data.ts";
import { Backoff, type Fetch } from "../../src/node/connection.ts";
import { type Kept, MemoryStore, type Vault } from "../../src/node/store.ts";
import { type Invitation, Phone, type PhoneEvent, type PhoneParts } from "../../src/phone.ts";
import type { Bytes } from "../../src/types.ts";

interface Asked {
  /** To join first; else the phone has joined before. */
  readonly invitation?: Invitation;
  /** Joins, lives or leaves. */
  readonly what: "join" | "live" | "leave" | "rotate";
  /** The page is closed while it makes this call for the so-manieth time, or once that is answered. */
  readonly closes?: { readonly path: string; readonly time: number; readonly after?: boolean };
  /** A table of its owner's. */
  readonly table: string;
  /** Its owner's rules, and the key of graphs that it takes. */
  readonly rules: Partial<Rules>;
  readonly signer: string;
  /** Seconds by which the clock of the page is wrong. */
  readonly ahead?: number;
}

const asked = workerData as Asked, port = parentPort ?? undefined;
const waiting = new Map<number, { resolve: (found: any) => void; reject: (why: Error) => void }>();
const stop = new AbortController();
let number = 0;

function tell(told: object): void {
  port?.postMessage({ told });
}

function kept<V>(method: string, ...given: unknown[]): Promise<V> {
  return new Promise((resolve, reject) => {
    waiting.set(++number, { resolve, reject });
    port?.postMessage({ number, method, given });
  });
}

const store: Vault = {
  get: (name) => kept<Bytes | undefined>("get", name),
  put: (changes) => kept<void>("put", changes),
  names: (prefix) => kept<string[]>("names", prefix),
  erase: () => kept<void>("erase"),
  key: (name) => kept<Kept | undefined>("key", name),
  keep: (keys) => kept<void>("keep", keys),
};

let calls = 0;
const fetching: Fetch = async (address, how) => {
  const { path, time, after } = asked.closes ?? { path: "", time: 0 };
  const closes = path && address.endsWith(path) && ++calls === time, answer = fetch(address, how);
  if (!closes) return await answer;
  if (after) await (await answer).arrayBuffer();
  tell({ kind: "closing", path });
  process.exit();
};

const entries = new Entries(new MemoryStore()); // kept by its owner, not by the device
await entries.add([{ kind: "table", name: "own.csv", file: Uint8Array.from(Buffer.from(asked.table)) }]);
const policy = new Policy({ ...asked.rules, graphs: new GraphRules({ keys: [asked.signer], in_the_clear: true }) });
const parts: PhoneParts = {
  store, fetch: fetching, backoff: new Backoff(0.05, 0.5),
  ...answersBy({
    data: new KeptData(entries, () => Promise.reject(new Error("no picture is asked for"))), trainer: trainersBy(),
    policy: async () => policy, log: (text) => tell({ kind: "log", text }),
  }),
};

async function live(): Promise<void> {
  const phone = asked.what === "join" && asked.invitation
    ? await Phone.join(asked.invitation, parts) : await Phone.open(parts);
  if (!phone) return tell({ kind: "none" });
  tell({ kind: "joined", name: phone.name });
  phone.events.addEventListener("phone", (event) => tell((event as CustomEvent<PhoneEvent>).detail));
  if (asked.what === "leave") return await phone.leave();
  if (asked.what === "rotate") return await phone.rotate();
  await phone.run(stop.signal);
}

port?.on("message", ({ number, found, error, stop: ends }) => {
  if (ends) return stop.abort();
  const one = waiting.get(number);
  waiting.delete(number);
  if (error) one?.reject(new Error(error));
  else one?.resolve(found);
});
if (asked.ahead) {
  const now = Date.now, by = 1000 * asked.ahead;
  Date.now = () => now() + by;
}
live().then(() => tell({ kind: "done" }), (error) => tell({ kind: "failed", error: `${error}` }))
  .finally(() => process.exit());
