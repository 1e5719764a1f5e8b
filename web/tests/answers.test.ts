/** A client's answers: the bytes of `vectors/answers.json`, which Python's clients gave to the same requests. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { respond } from "../src/client/answer.ts";
import { ClientConfig, type LocalClient } from "../src/client/client_round.ts";
import { StoredConstants } from "../src/client/constants.ts";
import { AnsweredRounds } from "../src/client/secure/answered_rounds.ts";
import { ClientState, Notes } from "../src/client/state.ts";
import { MemoryStore } from "../src/node/store.ts";
import { build } from "../src/recipe/strategy.ts";
import { identityOf } from "../src/secure/identity.ts";
import type { Bytes } from "../src/types.ts";
import { decode, encode } from "../src/wire/codec.ts";
import { readJson } from "../src/wire/text.ts";
import { Exact, layoutOf, samplesOf } from "./exact.ts";
import { stream } from "./masked_round.ts";
import { bytes, hex, vectors } from "./support.ts";

const TOLD = vectors("answers"), CLIENT = "kitchen";

/** A client that has answered nothing yet. */
function clientOf(told: any): { client: LocalClient; store: MemoryStore } {
  const layout = layoutOf(told.layout), store = new MemoryStore();
  const keys = Object.entries<string>(told.register ?? {});
  const pinned = new Map(keys.map(([name, key]): [string, Bytes] => [name, bytes(key)]));
  const client = {
    name: CLIENT, samples: async () => samplesOf(layout, CLIENT), rounds: new ClientState(store, "5eed"),
    notes: new Notes(store, "5eed"), constants: new StoredConstants(store),
    enrolment: async () => ({ identity: identityOf(bytes(told.secret)), pinned, trustOnFirstUse: false }),
    heldOut: async () => samplesOf(layout, CLIENT, true),
  };
  return { client, store };
}

async function answersOf(told: any, keeps = false): Promise<void> {
  const { client, store } = clientOf(told), trainer = new Exact(layoutOf(told.layout), keeps);
  const config = new ClientConfig(build(readJson(told.description)), trainer, { seededNoise: true });
  for (const [i, { kind, request, reply }] of told.messages.entries()) {
    const random = stream(`${CLIENT} ${kind}`), answered = new AnsweredRounds(store, random);
    const answer = await respond(config, client, kind, decode(bytes(request)), { answered, random });
    assert.equal(hex(encode(answer)), reply, `message ${i}, ${kind}`);
  }
}

for (const [name, told] of Object.entries<any>(TOLD.alone)) {
  test(`a client's answers are those of Python's, byte for byte: ${name}`, async () => {
    await answersOf(told, name === "trainer's state");
    assert.ok(told.messages.length >= 3);
  });
}

for (const [name, told] of Object.entries<any>(TOLD.masked)) {
  test(`its answers to all stages of a masked round are those of Python's: ${name}`, async () => {
    await answersOf(told);
    assert.ok(told.messages.length >= 5);
  });
}
