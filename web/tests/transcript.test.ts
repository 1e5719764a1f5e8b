import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256 } from "@noble/hashes/sha2.js";
import { Ring } from "../src/ring/arithmetic.ts";
import { SecureAggregation } from "../src/ring/secagg.ts";
import { type RingVector } from "../src/ring/vector.ts";
import { Generator } from "../src/rng.ts";
import * as client from "../src/secure/client.ts";
import { decode, encode, type Codec } from "../src/secure/codec.ts";
import * as messages from "../src/secure/messages.ts";
import { identityKey, type Random } from "../src/secure/primitives.ts";
import { type Party, Register } from "../src/secure/register.ts";
import type { Confirmed, Contributed, Joined, Shared } from "../src/secure/states.ts";
import { close, reopen } from "../src/secure/states.ts";
import type { Bytes } from "../src/types.ts";
import { bytesOf } from "../src/types.ts";
import { bytes, golden, hex } from "./support.ts";

const LINES = new Map(golden("transcript.txt").trim().split("\n").map((line) => line.split(": ") as [string, string]));
const SHAPE = { ring: new Ring(11), length: 7, metrics: ["loss"], streams: 1, clients: 10 };
const MEMBERS = Array.from({ length: 10 }, (_, i) => `client-00${i}`);
const SALT = new Uint8Array(16);

const hashed = (text: string): Bytes => Uint8Array.from(sha256(new TextEncoder().encode(text)));
const secretOf = (name: string): Bytes => hashed(`identity of ${name}`);
const register = new Register(new Map(MEMBERS.map((name) => [name, identityKey(secretOf(name))])));

/** The stream from which the committed round was drawn. */
function stream(seed: string): Random {
  let next = 0;
  return (length) => {
    const data = new Uint8Array(Math.ceil(length / 32) * 32);
    for (let at = 0; at < length; at += 32) data.set(hashed(`${seed} ${next++}`), at);
    return data.slice(0, length);
  };
}

function party(name: string): Party {
  const secure = new SecureAggregation({ minClients: 4 });
  return {
    name, secret: secretOf(name), register, secure, shape: () => SHAPE, random: stream(`golden ${name}`),
    purpose: "train",
  };
}

/** What a client has to add: the numbers that the committed round has from numpy. */
function vectorOf(name: string): RingVector {
  const seed = stream(`golden v ${name}`)(8), view = new DataView(seed.buffer);
  const draws = new Generator(Uint32Array.of(view.getUint32(4), view.getUint32(0)));
  const values = Uint16Array.from({ length: SHAPE.length }, () => draws.below(2 ** SHAPE.ring.bits));
  return { values, words: draws.raw(4) };
}

function told<T>(kind: Codec<T>, what: string): T {
  const line = LINES.get(what);
  assert.ok(line, what);
  return decode(kind, bytes(line));
}

function sends<T>(kind: Codec<T>, what: string, message: T): void {
  assert.equal(hex(encode(kind, message)), LINES.get(what), what);
}

const joined = new Map<string, Joined>(), shared = new Map<string, Shared>();
const contributed = new Map<string, Contributed>(), confirmed = new Map<string, Confirmed>();
const parties = new Map(MEMBERS.map((name) => [name, party(name)]));
const of = (name: string): Party => parties.get(name) ?? assert.fail(name);

test("the committed round has as many messages as it had", () => assert.equal(LINES.size, 63));

test("every client's advert is the committed one", () => {
  const setup = told(messages.SETUP, "setup");
  for (const name of MEMBERS) {
    const [advert, state] = client.join(of(name), setup);
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

test("every survivor's signature is the committed one", () => {
  const survivors = told(messages.SURVIVORS, "survivors");
  for (const name of MEMBERS.filter((each) => LINES.has(`signed ${each}`))) {
    const [signed, state] = client.confirm(of(name), contributed.get(name)!, survivors);
    sends(messages.SIGNED, `signed ${name}`, signed);
    confirmed.set(name, state);
  }
  assert.equal(confirmed.size, 7);
});

test("every survivor reveals the committed shares, also from a state that was kept", async () => {
  const unmask = told(messages.UNMASK, "unmask");
  for (const [name, state] of confirmed) {
    const closed = await close("Confirmed", state, secretOf(name), SALT);
    const again = await reopen("Confirmed", closed, secretOf(name), SALT);
    sends(messages.REVEALED, `revealed ${name}`, client.reveal(of(name), again, unmask));
    await assert.rejects(reopen("Joined", closed, secretOf(name), SALT), /needs Joined/);
    await assert.rejects(reopen("Confirmed", closed, secretOf(name), bytes("01".repeat(16))), /another round/);
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
