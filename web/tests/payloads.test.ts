import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "../src/strategies/pipeline/coding.ts";
import { parsePipeline } from "../src/strategies/pipeline/parse.ts";
import { NO_STATE } from "../src/strategies/pipeline/transform.ts";
import { type Arrays, Layout, Payload, type RoundContext, type Vector } from "../src/types.ts";
import { array, goldenNames, safetensors, same, vectors } from "./support.ts";

const TOLD = vectors("deltas");
const TENSORS = TOLD.tensors.map(({ name, shape }: any) => ({ name, shape: shape.map(Number) }));

function context(round: number): RoundContext {
  return {
    seed: TOLD.seed, round, client: TOLD.client, layout: new Layout(TENSORS), numExamples: Number(TOLD.examples),
    seededNoise: true,
  };
}

const FILES = goldenNames("payloads");

test("there are as many golden payloads as there were", () => assert.equal(FILES.length, 42));

for (const file of FILES) {
  test(`the payload of ${file} has the committed bytes, and decodes to the committed values`, () => {
    const { arrays, metadata } = safetensors(`payloads/${file}`), pipeline = parsePipeline(metadata.pipeline);
    const seen = new Set<string>();
    const check = (name: string, found: Parameters<typeof same>[0]) => {
      same(found, arrays.get(name)!, name);
      seen.add(name);
    };
    let state: Arrays = NO_STATE;
    for (const round of [1, 2]) {
      const delta = array(TOLD.deltas[round]) as Vector;
      const [payload, after] = encode(pipeline, delta, state, context(round));
      state = after;
      for (const [name, values] of payload.arrays) check(`${round}/sent/${name}`, values);
      for (const [name, values] of state) check(`${round}/state/${name}`, values);
      check(`${round}/weight`, Float64Array.of(payload.weight));
      check(`${round}/decoded`, decode(pipeline, new Payload(payload.arrays, payload.weight), context(round)));
    }
    assert.deepEqual([...seen].sort(), [...arrays.keys()].sort());
  });
}
