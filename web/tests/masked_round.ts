/** The committed masked round, `tests/golden/transcript.txt`: its parties, and what they were told and sent. */

import assert from "node:assert/strict";
import { sha256 } from "@noble/hashes/sha2.js";
import { Ring } from "../src/ring/arithmetic.ts";
import { SecureAggregation } from "../src/ring/secagg.ts";
import type { RingVector } from "../src/ring/vector.ts";
import { Generator } from "../src/rng.ts";
import { type Codec, decode } from "../src/secure/codec.ts";
import { identityOf } from "../src/secure/identity.ts";
import { identityKey, type Random } from "../src/secure/primitives.ts";
import { type Party, Register } from "../src/secure/register.ts";
import type { Bytes } from "../src/types.ts";
import { bytes, golden } from "./support.ts";

/** `{what: hex}` of each message of the committed round. */
export const LINES = new Map(golden("transcript.txt").trim().split("\n").map((line): [string, string] => {
  const [what, data] = line.split(": ");
  return [what, data];
}));
/** Of what each client adds. */
export const SHAPE = { ring: new Ring(11), length: 7, metrics: ["loss"], streams: 1, clients: 10 };
export const MEMBERS = Array.from({ length: 10 }, (_, i) => `client-00${i}`);

const hashed = (text: string): Bytes => Uint8Array.from(sha256(new TextEncoder().encode(text)));

export const secretOf = (name: string): Bytes => hashed(`identity of ${name}`);
/** Keys of all members. */
export const register = new Register(new Map(MEMBERS.map((name) => [name, identityKey(secretOf(name))])));

/** The stream from which the committed round was drawn. */
export function stream(seed: string): Random {
  let next = 0;
  return (length) => {
    const data = new Uint8Array(Math.ceil(length / 32) * 32);
    for (let at = 0; at < length; at += 32) data.set(hashed(`${seed} ${next++}`), at);
    return data.slice(0, length);
  };
}

/** One member, with the secrets that it had. */
export function party(name: string): Party {
  const secure = new SecureAggregation({ minClients: 4 });
  return {
    name, identity: identityOf(secretOf(name)), register, secure, shape: () => SHAPE, random: stream(`golden ${name}`),
    purpose: "train",
  };
}

/** What a client has to add: the numbers that the committed round has from numpy. */
export function vectorOf(name: string): RingVector {
  const seed = stream(`golden v ${name}`)(8), view = new DataView(seed.buffer);
  const draws = new Generator(Uint32Array.of(view.getUint32(4), view.getUint32(0)));
  const values = Uint16Array.from({ length: SHAPE.length }, () => draws.word() >>> (32 - SHAPE.ring.bits));
  return { values, words: draws.raw(4) };
}

/** A message of the committed round. */
export function told<T>(kind: Codec<T>, what: string): T {
  const line = LINES.get(what);
  assert.ok(line, what);
  return decode(kind, bytes(line));
}
