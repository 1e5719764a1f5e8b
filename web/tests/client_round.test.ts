/** What a client does around its training: budgets of time, personal layers, and what diverges. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Changes } from "../src/client/changes.ts";
import { ClientConfig, ClientRound, type LocalClient } from "../src/client/client_round.ts";
import { StoredConstants } from "../src/client/constants.ts";
import { Limits, type Machine, UNKNOWN_MACHINE } from "../src/client/limits.ts";
import { Pace } from "../src/client/pace.ts";
import { ClientState, Notes, touch } from "../src/client/state.ts";
import { Diverged } from "../src/client/trainer.ts";
import { MemoryStore } from "../src/node/store.ts";
import { build } from "../src/recipe/strategy.ts";
import { LocalTraining } from "../src/training.ts";
import type { Fit } from "../src/types.ts";
import { readJson } from "../src/wire/text.ts";
import { recorded } from "./a_phone.ts";
import { Exact, layoutOf, samplesOf, values } from "./exact.ts";
import { bytes } from "./support.ts";

const LAYOUT = layoutOf(recorded("alone", "residuals").layout);
const METRICS = new Map([["loss", 1]]);
const FIT: Fit = { delta: values(LAYOUT.dimension, 1), buffers: new Float32Array(0), numExamples: 7, metrics: METRICS };

function clientOn(store: MemoryStore): LocalClient {
  return {
    name: "kitchen", samples: async () => samplesOf(LAYOUT, "kitchen"), rounds: new ClientState(store, "r"),
    notes: new Notes(store, "r"), constants: new StoredConstants(store),
  };
}

function requestOf(round: number) {
  const none = new Float32Array(0), model = { parameters: values(LAYOUT.dimension, 2), buffers: none, constants: none };
  return { model, round, seed: 7n, streams: new Map(), uncounted: new Map(), clients: 0, constants: "" };
}

test("a client takes as many steps as fit into its time, and corrects its estimate", async () => {
  let now = 0;
  const local = new LocalTraining({ time_budget: 10n, epochs: 10n, batch_size: 1n }), taken: number[] = [];
  const train = (seconds: number) => async (most: number) => {
    taken.push(most);
    now += seconds * most;
    return FIT;
  };
  const first = new Pace(() => now, local, new Map());
  const fit = await first.trained(7, train(0.5)); // 1 and 3 steps are timed first, which takes 2 s of the 10
  assert.deepEqual([taken, fit.steps, fit.metrics.get("steps_taken")], [[1, 3, 16], 16, 16 / 70]);
  assert.deepEqual(first.kept.get("step_seconds"), Float64Array.of(0.5));
  const next = new Pace(() => now, local, first.kept);
  assert.equal((await next.trained(7, train(1))).steps, 20);
  assert.deepEqual(next.kept.get("step_seconds"), Float64Array.of(0.75));
  assert.equal((await new Pace(() => now, local, next.kept).trained(7, train(1))).steps, 13);
  const slow = new Pace(() => now, local, new Map([["step_seconds", Float64Array.of(1e6)]]));
  assert.equal((await slow.trained(7, train(1))).steps, 1, "at least one");
});

test("a round with a time budget says its share of the steps, and keeps the time of one for the next", async () => {
  let now = 0;
  const strategy = build(readJson('{"preset": "fedavg", "local": {"time_budget": 2, "epochs": 4, "batch_size": 1}}'));
  const trainer = new Exact(LAYOUT), client = clientOn(new MemoryStore());
  const config = new ClientConfig(strategy, trainer, { clock: () => (now += 0.25) });
  const round = new ClientRound(config, client, requestOf(1)), reply = await round.reply(await round.fit());
  assert.ok((reply.metrics.get("steps_taken") ?? 0) > 0);
  assert.deepEqual([...await client.rounds.load(2)].map(([part]) => part), ["pace"]);
  assert.deepEqual(trainer.asked.map(({ local }) => local.maxSteps).slice(0, 2), [1, 3]);
});

test("what diverges is refused, and counts as nothing learned where noise must hide it", async () => {
  const diverging = new Exact(LAYOUT);
  diverging.fit = async () => Promise.reject(new Diverged("nan"));
  const roundOf = (text: string, trainer: Exact) =>
    new ClientRound(new ClientConfig(build(readJson(text)), trainer), clientOn(new MemoryStore()), requestOf(1));
  const plain = roundOf('{"preset": "fedavg"}', diverging);
  await assert.rejects(plain.maskedFit(), Diverged);
  const hidden = roundOf(recorded("masked", "masked noise").description, diverging);
  assert.deepEqual(await hidden.maskedFit(), {
    delta: new Float32Array(LAYOUT.dimension), buffers: new Float32Array(0), numExamples: 1, metrics: new Map(),
  });
  const odd = new Exact(LAYOUT);
  odd.fit = async () => ({ ...FIT, delta: FIT.delta.fill(NaN) });
  const round = roundOf('{"preset": "fedavg"}', odd);
  await assert.rejects(round.reply(await round.fit()), Diverged);
});

test("a trainer that lacks what a strategy needs, or keeps what it must not, is refused", () => {
  const refused = (text: string, keeps = false) => () =>
    new ClientConfig(build(readJson(text)), new Exact(LAYOUT, keeps));
  assert.throws(refused('{"preset": "fedavg", "local": {"optimizer": "adam"}}'), /needs a trainer that supports adam/);
  assert.throws(refused('{"preset": "dp_fedavg"}', true), /keeps state of its clients/);
  assert.throws(refused('{"preset": "fedper", "personal": ["tail."]}'), /matches nothing/);
  refused('{"preset": "fedavg"}', true)();
});

test("changes are seen at once, and made only when they are put into the store", async () => {
  const store = new MemoryStore(), changes = new Changes(store);
  await store.put(new Map([["a/1", bytes("01")], ["a/2", bytes("02")]]));
  await changes.put(new Map([["a/1", undefined], ["a/3", bytes("03")]]));
  assert.deepEqual(await changes.names("a/"), ["a/2", "a/3"]);
  assert.deepEqual([await changes.get("a/1"), await changes.get("a/2")], [undefined, bytes("02")]);
  assert.deepEqual(await store.names("a/"), ["a/1", "a/2"]);
  await store.put(changes.all);
  assert.deepEqual(await store.names("a/"), ["a/2", "a/3"]);
});

test("the states of the last runs are kept, and older ones make way", async () => {
  const store = new MemoryStore();
  for (let run = 0; run < 20; run++) {
    await touch(store, `run-${run}`);
    await new ClientState(store, `run-${run}`).save(1, new Map([["pipeline", new Map([["x", Float32Array.of(1)]])]]));
    await touch(store, "run-0");
  }
  const kept = new Set((await store.names("state/")).map((name) => name.split("/")[1]));
  assert.equal(kept.size, 16);
  assert.ok(kept.has("run-0") && kept.has("run-19") && !kept.has("run-1"));
});

test("a machine's limits hold back new work, each with a sentence", () => {
  const at = (text: string): Machine => ({ ...UNKNOWN_MACHINE, now: () => new Date(`2026-11-29T${text}:00`) });
  const quiet = new Limits({ quiet: ["22:00-06:30", "12:00-13:00"] });
  const times = ["21:59", "22:00", "06:29", "06:30", "12:30"];
  assert.deepEqual(times.map((time) => quiet.reasons(at(time)).size), [0, 1, 1, 0, 1]);
  const hot: Machine = { ...UNKNOWN_MACHINE, temperature: () => 66, onMains: () => false, metered: () => true };
  const all = new Limits({ temperature: 70, on_mains: true, unmetered: true });
  assert.deepEqual([...all.reasons(hot).values()], ["the machine runs on its battery", "the link is metered"]);
  const resting = all.reasons(hot, new Set(["temperature"])).get("temperature");
  assert.equal(resting, "it is 66 °C here, and the limit is 70 °C");
  assert.equal(all.reasons(UNKNOWN_MACHINE).size, 3, "what is not known is no reason to begin");
});
