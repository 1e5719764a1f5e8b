/** Damaged descriptions, policies and kept states: read or refused, with no more memory than twice the message. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { PolicyError } from "../src/client/policy.ts";
import { readPolicy } from "../src/client/policy_file.ts";
import { ClientState } from "../src/client/state.ts";
import { MemoryStore } from "../src/node/store.ts";
import { read, RECORD, understand } from "../src/recipe/announcement.ts";
import { build } from "../src/recipe/strategy.ts";
import { Refused } from "../src/secure/errors.ts";
import type { Bytes } from "../src/types.ts";
import { decode, encode } from "../src/wire/codec.ts";
import { ConfigRecord } from "../src/wire/content.ts";
import { readJson } from "../src/wire/text.ts";
import { asked } from "./a_phone.ts";
import { fuzz, refusing } from "./fuzzing.ts";
import { mutations } from "./mutations.ts";
import { hex, vectors } from "./support.ts";

const DEVICES = vectors("devices"), STRATEGIES = vectors("strategies");
const encoded = (text: string): Bytes => Uint8Array.from(new TextEncoder().encode(text));
const textOf = (data: Bytes): string => String.fromCharCode(...data);

fuzz("understand", [encoded(DEVICES.description.json)], (data) => understand(textOf(data)));
fuzz("build", STRATEGIES.built.map((told: any) => encoded(told.description)), (data) => build(readJson(textOf(data))));

const POLICIES = DEVICES.refusals.map(({ policy }: any) => encoded(policy));
fuzz("readPolicy", POLICIES, refusing((data) => readPolicy(textOf(data)), PolicyError));

const ANNOUNCED = asked("", DEVICES.description.json);
fuzz("the announcement of a run", [encode(ANNOUNCED)], (data) => read(decode(data)));

test("a text of names alone is not a run's", () => {
  assert.throws(() => read(new Map([[RECORD, new ConfigRecord([["digest", 1n]])]])), /must have texts/);
});

test("a kept state that has changed in any way is refused", async () => {
  const store = new MemoryStore(), kept = new ClientState(store, "r");
  await kept.save(3, new Map([["pipeline", new Map([["residual", Float32Array.of(1, 2, 3)]])]]));
  const [name] = await store.names("state/r/"), good = await store.get(name) as Bytes;
  let left = 500;
  for (const data of mutations("states", [good])) {
    if (left-- === 0) break;
    if (hex(data) === hex(good)) continue;
    await store.put(new Map([[name, data]]));
    await assert.rejects(kept.load(4), (error) => error instanceof Refused && error.why === "LostState");
    assert.deepEqual(await store.names("state/r/"), [], "it is removed");
  }
});
