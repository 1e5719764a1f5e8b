import assert from "node:assert/strict";
import { test } from "node:test";
import * as client from "../src/secure/client.ts";
import { type Codec, encode } from "../src/secure/codec.ts";
import * as messages from "../src/secure/messages.ts";
import type { Party } from "../src/secure/register.ts";
import { close, type Confirmed, type Contributed, type Joined, reopen, type Shared } from "../src/secure/states.ts";
import { bytesOf } from "../src/types.ts";
import { LINES, MEMBERS, party, SHAPE, told, vectorOf } from "./masked_round.ts";
import { bytes, hex } from "./support.ts";

const SALT = new Uint8Array(16);

function sends<T>(kind: Codec<T>, what: string, message: T): void {
  assert.equal(hex(encode(kind, message)), LINES.get(what), what);
}

const joined = new Map<string, Joined>(), shared = new Map<string, Shared>();
const contributed = new Map<string, Contributed>(), confirmed = new Map<string, Confirmed>();
const parties = new Map(MEMBERS.map((name) => [name, party(name)]));
const of = (name: string): Party => parties.get(name) ?? assert.fail(name);

test("the committed round has as many messages as it had", () => assert.equal(LINES.size, 63));

test("every client's advert is the committed one", async () => {
  const setup = told(messages.SETUP, "setup");
  for (const name of MEMBERS) {
    const [advert, state] = await client.join(of(name), setup);
    sends(messages.ADVERT, `advert ${name}`, advert);
    joined.set(name, state);
  }
  assert.equal(joined.size, 10);
});

test("every client's shares are the committed ones", async () => {
  const adverts = told(messages.ADVERTS, "adverts");
  for (const name of MEMBERS.filter((each) => LINES.has(`shares ${each}`))) {
    const [shares, state] = await client.share(of(name), joined.get(name)!, adverts);
    sends(messages.SHARES, `shares ${name}`, shares);
    shared.set(name, state);
  }
  assert.equal(shared.size, 9);
});

test("every client's masked vector is the committed one", async () => {
  for (const name of MEMBERS.filter((each) => LINES.has(`masked ${each}`))) {
    const vector = vectorOf(name), delivery = told(messages.DELIVERY, `delivery ${name}`);
    const [masked, state] = await client.contribute(of(name), shared.get(name)!, delivery, vector);
    const packed = hex(SHAPE.ring.pack(vector.values)) + hex(bytesOf(vector.words));
    assert.equal(packed, LINES.get(`vector ${name}`), name);
    sends(messages.MASKED, `masked ${name}`, masked);
    contributed.set(name, state);
  }
  assert.equal(contributed.size, 8);
});

test("every survivor's signature is the committed one", async () => {
  const survivors = told(messages.SURVIVORS, "survivors");
  for (const name of MEMBERS.filter((each) => LINES.has(`signed ${each}`))) {
    const [signed, state] = await client.confirm(of(name), contributed.get(name)!, survivors);
    sends(messages.SIGNED, `signed ${name}`, signed);
    confirmed.set(name, state);
  }
  assert.equal(confirmed.size, 7);
});

test("every survivor reveals the committed shares, also from a state that was kept", async () => {
  const unmask = told(messages.UNMASK, "unmask");
  for (const [name, state] of confirmed) {
    const closed = await close("Confirmed", state, of(name).identity, SALT);
    const again = await reopen("Confirmed", closed, of(name).identity, SALT);
    sends(messages.REVEALED, `revealed ${name}`, client.reveal(of(name), again, unmask));
    await assert.rejects(reopen("Joined", closed, of(name).identity, SALT), /needs Joined/);
    await assert.rejects(reopen("Confirmed", closed, of(name).identity, bytes("01".repeat(16))), /another round/);
  }
});

test("the server's messages of the committed round are encoded again to the same bytes", () => {
  sends(messages.SETUP, "setup", told(messages.SETUP, "setup"));
  sends(messages.ADVERTS, "adverts", told(messages.ADVERTS, "adverts"));
  sends(messages.UNMASK, "unmask", told(messages.UNMASK, "unmask"));
  for (const what of [...LINES.keys()].filter((each) => each.startsWith("delivery "))) {
    sends(messages.DELIVERY, what, told(messages.DELIVERY, what));
  }
});
