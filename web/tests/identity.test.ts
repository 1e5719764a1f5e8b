import assert from "node:assert/strict";
import { test } from "node:test";
import { deviceIdentity } from "../src/node/identity.ts";
import { MemoryStore } from "../src/node/store.ts";
import { identityOf } from "../src/secure/identity.ts";
import { derive, identityKey, verify } from "../src/secure/primitives.ts";
import { type Joined, close, reopen } from "../src/secure/states.ts";
import * as client from "../src/secure/client.ts";
import * as messages from "../src/secure/messages.ts";
import { party, secretOf, told } from "./masked_round.ts";
import { bytes, hex } from "./support.ts";

const MESSAGE = bytes("010203"), SALT = bytes("05".repeat(16));

/** Work in a browser that has no Ed25519. */
async function without<V>(work: () => Promise<V>): Promise<V> {
  const make = crypto.subtle.generateKey;
  crypto.subtle.generateKey = ((how: Algorithm, ...others: [boolean, KeyUsage[]]) => {
    if (how.name === "Ed25519") throw new DOMException("Unrecognized name.", "NotSupportedError");
    return make.call(crypto.subtle, how as AesKeyGenParams, ...others);
  }) as typeof make;
  try {
    return await work();
  } finally {
    crypto.subtle.generateKey = make;
  }
}

for (const [where, made] of [
  ["a browser that has Ed25519", deviceIdentity],
  ["one that has not", (store: MemoryStore) => without(() => deviceIdentity(store))],
] as const) {
  test(`an identity signs as Python checks it, and is the same the next time, in ${where}`, async () => {
    const store = new MemoryStore(), identity = await made(store), again = await made(store);
    assert.equal(hex(again.public), hex(identity.public));
    for (const each of [identity, again]) verify(identity.public, await each.sign(MESSAGE), MESSAGE, "phone");
    assert.throws(() => verify(identity.public, identity.public, MESSAGE, "phone"), /is not valid/);
    assert.equal(hex(await again.derive(MESSAGE, 16, SALT)), hex(await identity.derive(MESSAGE, 16, SALT)));
    assert.notEqual(hex(await again.derive(MESSAGE, 16, MESSAGE)), hex(await identity.derive(MESSAGE, 16, SALT)));
    assert.notEqual(hex((await made(new MemoryStore())).public), hex(identity.public));
  });

  test(`no key of an identity can be handed out, and no bytes of its secret are kept, in ${where}`, async () => {
    const keys: CryptoKey[] = [], kept: string[] = [];
    class Watched extends MemoryStore {
      override async keep(given: Parameters<MemoryStore["keep"]>[0]) {
        for (const key of given.values()) keys.push(key && "privateKey" in key ? key.privateKey : key as CryptoKey);
        await super.keep(given);
      }
      override async put(given: Parameters<MemoryStore["put"]>[0]) {
        for (const value of given.values()) kept.push(hex(value ?? new Uint8Array(0)));
        await super.put(given);
      }
    }
    const identity = await made(new Watched());
    assert.ok(keys.length);
    for (const key of keys) {
      assert.equal(key.extractable, false);
      for (const form of ["raw", "pkcs8", "jwk"] as const) await assert.rejects(crypto.subtle.exportKey(form, key));
    }
    for (const data of kept) { // sealed: no 32 bytes of it are the secret
      for (let at = 0; at + 64 <= data.length; at += 2) {
        assert.notEqual(hex(identityKey(bytes(data.slice(at, at + 64)))), hex(identity.public));
      }
    }
  });

  test(`a masked round's secrets are kept so that only this identity opens them, in ${where}`, async () => {
    const identity = await made(new MemoryStore()), [, state] = await client.join(
      party("client-003"), told(messages.SETUP, "setup"));
    const closed = await close("Joined", state, identity, SALT);
    assert.ok(!hex(closed.sealed).includes(hex(state.mask_secret)));
    assert.deepEqual(await reopen("Joined", closed, identity, SALT) as Joined, state);
    await assert.rejects(reopen("Joined", closed, await made(new MemoryStore()), SALT), /another round/);
  });
}

test("an identity whose secret is in memory signs and derives as the primitives do", async () => {
  const secret = secretOf("client-000"), identity = identityOf(secret);
  assert.equal(hex(identity.public), hex(identityKey(secret)));
  assert.equal(hex(await identity.derive(MESSAGE, 20, SALT)), hex(derive(secret, MESSAGE, 20, SALT)));
});
