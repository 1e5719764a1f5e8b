/** Strategies from their descriptions: what Python builds and refuses, `vectors/strategies.json`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { clientEvent } from "../src/client/policy.ts";
import { build } from "../src/recipe/strategy.ts";
import { refuseClientEvaluation, refuseEvaluation } from "../src/strategies/measuring.ts";
import { strategyHash } from "../src/strategies/strategy.ts";
import { readJson } from "../src/wire/text.ts";
import { vectors } from "./support.ts";

const TOLD = vectors("strategies");

test("every description gives the strategy that it gives in Python, with the same hash", () => {
  for (const told of TOLD.built) {
    const strategy = build(readJson(told.description)), { protection } = strategy.pipeline;
    const { secure } = protection, event = clientEvent(strategy);
    const found = {
      description: told.description,
      name: strategy.name,
      pipeline: strategy.pipeline.name,
      hash: strategyHash(strategy),
      needs: [...strategy.needs].sort(),
      traits: [...strategy.traits].sort(),
      streams: strategy.streams.map(({ name }) => name),
      personal: strategy.personal,
      keeps: [strategy.stateful, strategy.keepsPace],
      hides: [strategy.sumOnly, strategy.private],
      apart: BigInt(strategy.sampling.groups ?? 1),
      secure: secure
        ? [BigInt(secure.assumptions.minClients), secure.assumptions.corrupt, BigInt(secure.assumptions.minHonest)]
        : null,
      event: event ?? null,
      evaluation: [refuseEvaluation(strategy), refuseClientEvaluation(strategy)],
    };
    assert.deepEqual(found, told);
  }
  assert.equal(TOLD.built.length, 49);
});

test("what Python refuses is refused, and why in the same words", () => {
  let same = 0;
  for (const { description, why } of TOLD.refused) {
    assert.throws(() => build(readJson(description)), (error) => {
      assert.ok(error instanceof RangeError, description);
      if (error.message === why) same++;
      return true;
    });
  }
  assert.equal(TOLD.refused.length, 61);
  assert.equal(same, 60); // a text that is no call is told of in other words;
});

test("a model that is sent as a change is refused by name, and one that is sent as it is taken", () => {
  for (const [downlink, why] of [
    ["quantize(8)", /^downlink is quantize\(8\); it must be float32\(\)/],
    ["error_feedback(top_k(0.01))", /^downlink is error_feedback\(top_k\(0\.01\)\); it must be float32\(\)/],
    ["eden(4)", /there is no transform 'eden'/],
  ] as const) {
    const description = readJson(JSON.stringify({ preset: "fedavg", downlink }));
    assert.throws(() => build(description), (error) => error instanceof RangeError && why.test(error.message));
  }
  assert.equal(build(readJson('{"preset": "fedavg", "downlink": "float32()"}')).name, "fedavg");
});
