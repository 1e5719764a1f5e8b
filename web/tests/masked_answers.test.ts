/** A device in masked rounds: a page that is closed between the stages, and servers that ask twice. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStore } from "../src/node/store.ts";
import type { Bytes } from "../src/types.ts";
import { asked, CLIENT, described, OPEN, Phone, policyOf, recorded } from "./a_phone.ts";
import { stream } from "./masked_round.ts";

const MASKED = recorded("masked", "masked"), NOISE = recorded("masked", "masked noise");
const RUN = described(MASKED), NOISE_RUN = described(NOISE);
/** The stages of the round in which it trains. */
const STAGES = MASKED.messages.slice(0, 5);

function phone(told: any, kind: string, store: MemoryStore, rules = {}): Phone {
  const random = stream(`${CLIENT} ${kind}`);
  return new Phone(told, { random, policy: async () => policyOf({ ...OPEN, ...rules }) }, store);
}

test("a page may be closed between any two stages, and a stage that is asked again gives the same bytes", async () => {
  const store = new MemoryStore();
  for (const { kind, request, reply } of STAGES) {
    assert.equal(await phone(MASKED, kind, store).answer(kind, asked(request, RUN)), reply, kind);
    assert.equal(await phone(MASKED, kind, store).answer(kind, asked(request, RUN)), reply, kind);
  }
  const kept = (await store.names("state/")).filter((name) => name.includes("notes"));
  assert.equal(kept.length, 1);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(await store.get(kept[0]))), { done: true });
});

test("no stage is answered twice, out of order, or for another request", async () => {
  const store = new MemoryStore(), [keys, shares, masked] = STAGES;
  const ask = async ({ kind, request }: any) => await phone(MASKED, kind, store).answer(kind, asked(request, RUN));
  await assert.rejects(ask(shares), { why: "OutOfOrder" });
  await ask(keys);
  await assert.rejects(ask(masked), { why: "OutOfOrder" });
  await ask(shares);
  await ask(masked);
  await forgetAnswers(store); // as if the requests were other ones
  for (const stage of [keys, shares, masked]) {
    await assert.rejects(ask(stage), (error: any) => ["OutOfOrder", "AlreadyAnswered"].includes(error.why), stage.kind);
  }
  assert.equal((await store.names("answers/")).length, 3);
});

test("a round that fails leaves no secrets", async () => {
  const store = new MemoryStore(), [keys, shares] = STAGES;
  await phone(MASKED, keys.kind, store).answer(keys.kind, asked(keys.request, RUN));
  await phone(MASKED, "train.failed", store).answer("train.failed", asked(shares.request, RUN));
  assert.deepEqual((await store.names("state/")).filter((name) => name.includes("notes")), []);
  const late = phone(MASKED, shares.kind, store).answer(shares.kind, asked(shares.request, RUN));
  await assert.rejects(late, { why: "OutOfOrder" });
});

test("an enrolled phone refuses cohorts that are too small, and an update without its mask", async () => {
  const [keys] = STAGES, store = new MemoryStore();
  const rule = { why: "AgainstPolicy", message: /^rule min_clients: the run has cohorts of 4 clients; at least 10/ };
  const strict = phone(MASKED, keys.kind, store, { min_clients: 10 });
  await assert.rejects(strict.answer(keys.kind, asked(keys.request, RUN)), rule);
  const { request } = STAGES[2];
  await assert.rejects(phone(MASKED, "train", store).answer("train", asked(request, RUN)), { why: "NotMasked" });
});

test("the noise of a phone's updates is counted before they are sent, in all runs, up to its budget", async () => {
  const store = new MemoryStore(), rules = { client_epsilon: 1.5, delta: 1e-5 };
  for (const { kind, request, reply } of NOISE.messages) {
    assert.equal(await phone(NOISE, kind, store, rules).answer(kind, asked(request, NOISE_RUN)), reply, kind);
  }
  const account = JSON.parse(new TextDecoder().decode(await store.get("privacy-clients.json") as Bytes));
  assert.deepEqual(account.releases, [[{ kind: "gaussian", noise_multiplier: 4 }, 1]]);
  const [keys] = NOISE.messages, other = asked(keys.request, NOISE_RUN, { run: "0".repeat(32) });
  const spent = phone(NOISE, keys.kind, store, { client_epsilon: 1.2 });
  await assert.rejects(spent.answer(keys.kind, other), { message: /^rule client_epsilon: one more update/ });
});

async function forgetAnswers(store: MemoryStore): Promise<void> {
  const names = await store.names("outbox/answers/");
  await store.put(new Map(names.map((name): [string, undefined] => [name, undefined])));
}
