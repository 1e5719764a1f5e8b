import assert from "node:assert/strict";
import { test } from "node:test";
import { sha256 } from "@noble/hashes/sha2.js";
import { shake256 } from "@noble/hashes/sha3.js";
import { SecureAggregation } from "../src/ring/secagg.ts";
import { generator, integerSeed, systemSource } from "../src/rng.ts";
import { encode } from "../src/strategies/pipeline/coding.ts";
import { parsePipeline } from "../src/strategies/pipeline/parse.ts";
import { NO_STATE } from "../src/strategies/pipeline/transform.ts";
import { shapeOf } from "../src/strategies/transforms/mask.ts";
import { type Arrays, bytesOf, Layout, type Numbers } from "../src/types.ts";
import { dtypeOf } from "../src/wire/arrays.ts";
import { hex, vectors } from "./support.ts";

test("a purpose's generator draws what numpy's does", () => {
  const told = vectors("draws");
  assert.equal(told.length, 4);
  for (const { seed, purpose, round, client, raw, doubles, floats, orders, "integer seed": whole } of told) {
    const place = { round: Number(round), client }, draws = () => generator(seed, purpose, place);
    assert.deepEqual([...draws().raw(4)], raw);
    const made = [draws(), draws()];
    assert.equal(hex(bytesOf(Float64Array.from({ length: 3 }, () => made[0].double()))), doubles);
    assert.equal(hex(bytesOf(Float32Array.from({ length: 3 }, () => made[1].float()))), floats);
    for (const order of orders) assert.deepEqual([...draws().permutation(order.length)], order.map(Number));
    assert.equal(integerSeed(seed, purpose, place), whole);
  }
});

test("words of the system's generator differ", () => {
  const words = systemSource(20_000); // more than the browser gives at once
  assert.equal(new Set(words).size, 20_000);
});

const TOLD = vectors("pipelines");
const WIDE = new Layout([{ name: "first", shape: [99, 100] }, { name: "second", shape: [100] }]);
const STREAM = shake256(new TextEncoder().encode("values"), { dkLen: 4 * WIDE.dimension }).slice().buffer;
const VALUES = Float32Array.from(new Int32Array(STREAM), (value) => value / (3 * 2 ** 33));

function hashed(arrays: Arrays): Record<string, unknown> {
  const told = (values: Numbers) =>
    ({ dtype: dtypeOf(values), length: BigInt(values.length), sha256: hex(sha256(bytesOf(values))) });
  return Object.fromEntries([...arrays].map(([name, values]) => [name, told(values)]));
}

assert.equal(Object.keys(TOLD.pipelines).length, 18);
for (const [text, told] of Object.entries<any>(TOLD.pipelines)) {
  test(`${text} means and sends what it does in Python`, () => {
    const pipeline = parsePipeline(text);
    assert.equal(pipeline.name, told.name);
    assert.equal(parsePipeline(pipeline.name).name, told.name);
    assert.equal(pipeline.length(WIDE.dimension), Number(told.length));
    assert.equal(pipeline.maxWeight, Number(told["max weight"]));
    for (const [clients, bits] of Object.entries(told.bits)) {
      assert.equal(shapeOf(pipeline, WIDE, Number(clients)).ring.bits, Number(bits));
    }
    let state: Arrays = NO_STATE;
    told.rounds.forEach(({ sent, weight, kept }: any, i: number) => {
      const { seed, client, examples } = TOLD, round = i + 1;
      const context = { seed, round, client, layout: WIDE, numExamples: Number(examples), seededNoise: true };
      const [payload, after] = encode(pipeline, VALUES.map((value) => value / (i + 1)), state, context);
      state = after;
      assert.deepEqual(hashed(payload.arrays), sent);
      assert.equal(payload.weight, weight);
      assert.deepEqual(hashed(state), kept);
    });
  });
}

test("a client insists on the same numbers of neighbours, shares and survivors", () => {
  const told = vectors("plans");
  assert.equal(told.length, 12);
  for (const { corrupt, dropout, "failure bits": bits, clients: size, plan, near } of told) {
    const clients = Number(size), failureBits = Number(bits);
    const minClients = { 0.2: 10, 0: 5, 0.3: 60 }[corrupt as number];
    const secure = new SecureAggregation({ corrupt, dropout, failureBits, minClients });
    const lefts = [clients, Math.floor((clients * 4) / 5)];
    assert.deepEqual(lefts.map((left) => secure.corruptNear(clients, left, 40)), near.map(Number));
    if (plan === null) assert.throws(() => secure.plan(clients), RangeError);
    else assert.deepEqual(Object.values(secure.plan(clients)), Object.values(plan).map(Number));
  }
});
