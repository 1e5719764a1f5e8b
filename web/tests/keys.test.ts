import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";
import { test } from "node:test";
import { completed, type KeptConstants } from "../src/client/constants.ts";
import { NodeKey } from "../src/node/keys.ts";
import { hashConstants, PayloadError, type Vector } from "../src/types.ts";
import * as codec from "../src/wire/codec.ts";
import { type TrainRequest, unpackTrain } from "../src/wire/messages.ts";
import { bytes, LAYOUT, numbers, same, vectors } from "./support.ts";

test("a call is signed as a SuperLink checks it, with a key that cannot be handed out", async () => {
  const pair = await NodeKey.make(), key = await NodeKey.of(pair);
  await assert.rejects(crypto.subtle.exportKey("pkcs8", pair.privateKey));
  const pem = createPublicKey(Buffer.from(key.public));
  assert.equal(pem.export({ type: "spki", format: "pem" }), Buffer.from(key.public).toString());
  assert.equal(pem.asymmetricKeyDetails?.namedCurve, "secp384r1");
  const now = Date.UTC(2026, 10, 29, 12), told = await key.headers(now);
  assert.equal(told["flwr-timestamp"], "2026-11-29T12:00:00.000+00:00");
  assert.equal(Buffer.from(told["flwr-public-key"], "base64").compare(key.public), 0);
  const signature = Buffer.from(told["flwr-signature"], "base64");
  assert.ok(verify("sha256", Buffer.from(told["flwr-timestamp"]), pem, signature));
  assert.ok(!verify("sha256", Buffer.from("2026-11-29T12:00:01.000+00:00"), pem, signature));
});

test("signatures of every length are DER: some numbers begin with a zero, or would be negative", async () => {
  const key = await NodeKey.of(await NodeKey.make()), pem = createPublicKey(Buffer.from(key.public));
  const sizes = new Set<number>();
  for (let i = 0; i < 60; i++) {
    const message = Uint8Array.of(i), signature = await key.sign(message);
    assert.ok(verify("sha256", message, pem, signature));
    sizes.add(signature.length);
  }
  assert.ok(sizes.size > 1, [...sizes].join());
});

test("headers are used again for five seconds, also by a clock that is set back", async () => {
  const key = await NodeKey.of(await NodeKey.make()), told = await key.headers(1_000_000);
  assert.equal(await key.headers(1_004_999), told);
  assert.notEqual((await key.headers(1_005_000))["flwr-timestamp"], told["flwr-timestamp"]);
  assert.equal((await key.headers(500_000))["flwr-timestamp"], "1970-01-01T00:08:20.000+00:00");
});

test("a key of another kind, or one that could be handed out, is refused", async () => {
  const open = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, true, ["sign", "verify"]);
  const other = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
  for (const pair of [open, other]) await assert.rejects(NodeKey.of(pair), RangeError);
});

test("constants that are only named come from what was kept, and are asked for where nothing was", async () => {
  const memory = new Map<string, Vector>();
  const kept: KeptConstants = {
    load: async (hash) => memory.get(hash),
    save: async (hash, values) => void memory.set(hash, values),
  };
  const plain = unpackTrain(codec.decode(bytes(vectors("messages").messages.train.bytes)), LAYOUT);
  const constants = numbers(1, 37), named = hashConstants(constants), none = new Float32Array(0);
  const asked = (changed: Partial<TrainRequest>, values = none): TrainRequest =>
    ({ ...plain, constants: named, model: { ...plain.model, constants: values }, ...changed });
  assert.equal(await completed(plain, LAYOUT, kept), plain);
  await assert.rejects(completed(asked({}), LAYOUT, kept), { why: "LacksConstants" });
  await assert.rejects(completed(asked({}, Float32Array.of(1)), LAYOUT, kept), PayloadError);
  await assert.rejects(completed(asked({ constants: "../x" }), LAYOUT, kept), PayloadError);
  assert.equal(memory.size, 0);
  await completed(asked({}, constants), LAYOUT, kept);
  same((await completed(asked({}), LAYOUT, kept)).model.constants, constants);
  memory.set(named, Float32Array.of(1)); // what was kept is damaged
  await assert.rejects(completed(asked({}), LAYOUT, kept), { why: "LacksConstants" });
});
