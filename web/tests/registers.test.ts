import assert from "node:assert/strict";
import { test } from "node:test";
import { REGISTER } from "../src/client/secure/enrolment.ts";
import { parseRegister } from "../src/client/secure/register_file.ts";
import { verify } from "../src/client/secure/signed_register.ts";
import { takeRegister } from "../src/node/identities.ts";
import { keyOf } from "../src/node/outbox.ts";
import { rotationMessage } from "../src/node/rotate.ts";
import { MemoryStore } from "../src/node/store.ts";
import { Refused } from "../src/secure/errors.ts";
import { bytes, hex, vectors } from "./support.ts";

const TOLD = vectors("registers"), SIGNED = TOLD.signed, FEDERATION = "0123456789abcdef";
const malformed = (error: unknown) => error instanceof Refused && error.why === "Malformed";

for (const [what, { text, keys }] of Object.entries<any>({ ...TOLD.texts, ...SIGNED })) {
  test(`a register is read, or refused, as Python does: ${what}`, () => {
    if (keys === null) assert.throws(() => parseRegister(text), malformed);
    else assert.deepEqual(Object.fromEntries([...parseRegister(text)].map(([name, key]) => [name, hex(key)])), keys);
  });
}

for (const [what, { text, administrator, found }] of Object.entries<any>(SIGNED)) {
  test(`a register's signature is taken, or not, as Python does: ${what}`, () => {
    if (found === null) return assert.throws(() => verify(text, administrator ?? undefined), malformed);
    const { version, federation, administrator: signer } = verify(text, administrator ?? undefined);
    assert.deepEqual([BigInt(version), federation, signer], found);
  });
}

test("a newer register of the same administrator is kept, and nothing else is", async () => {
  const store = new MemoryStore(), first = SIGNED.signed.administrator, handed = SIGNED["handed over"];
  const take = (text: unknown, administrator?: string, trust = "signed", federation = FEDERATION) =>
    takeRegister(store, { federation, administrator }, { register: text, trust });
  const kept = async () => new TextDecoder().decode(await store.get(REGISTER));
  assert.equal(await take(SIGNED.unsigned.text, undefined, "first-use"), undefined);
  assert.equal(await take(null), undefined);
  assert.deepEqual(await store.names(""), []); // trusted on first use, so nothing is kept
  await assert.rejects(take(SIGNED.signed.text, first, "signed", "f".repeat(16)), /is of federation/);
  assert.equal(await take(SIGNED.signed.text), first);
  assert.equal(await kept(), SIGNED.signed.text);
  await assert.rejects(take(SIGNED.unsigned.text, first), malformed);
  await assert.rejects(take(null, first), /no longer gives a signed register/);
  await assert.rejects(take(SIGNED["of nobody"].text, first), /version 1; the present one has version 3/);
  await assert.rejects(take(SIGNED["handed over by a stranger"].text, first), malformed);
  assert.equal(await take(SIGNED.signed.text, first), first); // again
  assert.equal(await take(handed.text, first), handed.found[2]);
  assert.equal(await kept(), handed.text);
});

test("a new key is signed for, and an answer is named, as in Python", () => {
  assert.equal(hex(rotationMessage(FEDERATION, "münchen", "-----BEGIN\n")), TOLD.rotation);
  for (const [kind, run, key] of TOLD.answers) assert.equal(keyOf(kind, run, bytes("7800")), key);
});
