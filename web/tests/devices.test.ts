/** What a device decides, as Python's does: `vectors/devices.json`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { SENTENCES } from "../src/client/discretion.ts";
import { PolicyError } from "../src/client/policy.ts";
import { policyText, readPolicy } from "../src/client/policy_file.ts";
import { holdOut } from "../src/data/held_out.ts";
import { Offer } from "../src/graphs/offer.ts";
import { epsilon } from "../src/privacy/accounting.ts";
import { eventOf } from "../src/privacy/events.ts";
import { digestOf, understand } from "../src/recipe/announcement.ts";
import { OwnSchema } from "../src/recipe/own_data.ts";
import { build } from "../src/recipe/strategy.ts";
import { supported } from "../src/recipe/versions.ts";
import { LocalTraining } from "../src/training.ts";
import { bytesOf } from "../src/types.ts";
import { readJson } from "../src/wire/text.ts";
import { values } from "./exact.ts";
import { hex, vectors } from "./support.ts";

const TOLD = vectors("devices"), OFFER = new Offer("c".repeat(64), 5000);

test("a policy refuses the same messages, for the same reasons, and is written the same", () => {
  const strategies = TOLD.strategies.map((text: string) => build(readJson(text)));
  for (const told of TOLD.refusals) {
    const policy = readPolicy(told.policy), { graphs } = policy.rules;
    assert.equal(policyText(policy), told.text);
    assert.deepEqual(policyText(readPolicy(told.text)), told.text);
    const broken = (each: any) => TOLD.kinds.map((kind: string) => policy.refusals(kind, each).join("; "));
    const refused = strategies.map(broken);
    assert.deepEqual(refused, told.refused);
    assert.deepEqual([true, false].map((guarded) => graphs.refusals(OFFER, guarded)), told.graphs);
  }
  assert.equal(TOLD.refusals.length, 7);
});

test("what is no policy is refused, and a device without one that it can read answers nothing", () => {
  for (const [text, why] of Object.entries<string>(TOLD["not policies"])) {
    assert.throws(() => readPolicy(text), (error) => {
      assert.ok(error instanceof PolicyError, text);
      assert.equal(error.message, `policy.toml cannot be read: ${why}`);
      return true;
    });
  }
  for (const text of TOLD["broken policies"]) assert.throws(() => readPolicy(text), PolicyError, text);
});

test("the epsilon of clients' noise is Python's, which rounds up", () => {
  for (const { releases, epsilon: told } of TOLD.epsilons) {
    const counts = releases.map(({ times, ...event }: any) => [eventOf(event), Number(times)] as const);
    for (const [delta, wanted] of Object.entries<number>(told)) {
      const found = epsilon(counts, Number(delta));
      assert.ok(found <= wanted * (1 + 1e-9) && found >= wanted * (1 - 1e-3) - 1e-4, `${found} for ${wanted}`);
    }
  }
  assert.equal(TOLD.epsilons.length, 8);
});

test("each refusal tells the same sentence", () => {
  const { OutOfRing, TooFewShares, ...ours } = TOLD.sentences; // of the server's side
  assert.ok(OutOfRing && TooFewShares);
  assert.deepEqual({ ...SENTENCES }, ours);
});

test("a description is read, and what is none is refused", () => {
  const told = TOLD.description, run = understand(told.json);
  assert.equal(digestOf(told.json), told.digest);
  const found = {
    json: told.json, digest: told.digest, seed: String(run.seed), model: run.model, "held out": run.heldOut,
    layout: run.layout, shape: run.schema?.inputShape.map(BigInt), graphs: run.graphs?.hash,
  };
  assert.deepEqual(found, told);
  for (const text of TOLD["not descriptions"]) assert.throws(() => understand(text), RangeError, text);
  for (const size of [0, 1, 50, told.json.length - 1]) {
    assert.throws(() => understand(told.json.slice(0, size)), RangeError);
  }
});

test("a device's own values become the same samples", () => {
  const { json, values: given, prepared, allowed } = TOLD.schema, schema = OwnSchema.fromJson(readJson(json));
  assert.equal(hex(bytesOf(schema.prepare(Float64Array.from(given)))), prepared);
  assert.deepEqual([schema.allowed(0), schema.allowed(1)], allowed);
  assert.equal(schema.outOfRange(Float64Array.from(given)), -1);
  assert.equal(schema.outOfRange(Float64Array.of(1, 2, 3, 261)), 3);
  assert.equal(schema.outOfRange(Float64Array.of(1, 2, -1, 3)), 2);
});

test("a round's learning rate is Python's, to the last bit", () => {
  for (const [decay, round, rate] of TOLD["learning rates"]) {
    assert.equal(new LocalTraining({ learning_rate_decay: decay }).learningRateAt(Number(round)), rate);
  }
  assert.equal(TOLD["learning rates"].length, 16);
});

test("the same samples are held out", () => {
  const samples = {
    inputs: values(24 * 3, 5), targets: BigInt64Array.from({ length: 24 }, (_, i) => BigInt(i % 3)), shape: [3],
  };
  for (const told of TOLD["held out"]) {
    const split = holdOut(samples, { fraction: told.fraction, by: told.by, client: "kitchen", seed: 2n ** 60n });
    assert.deepEqual(split.map((part) => part.map(BigInt)), [told.train, told["held out"]]);
  }
  assert.equal(TOLD["held out"].length, 9);
});

test("a server of this version and its neighbours is taken, and no other", () => {
  const found = ["0.0.9", "0.2.7", "0.3.0", "1.1.0", "0", "x.y"].map((theirs) => supported(theirs, "0.1.0"));
  assert.deepEqual(found, [true, true, false, false, false, false]);
});
