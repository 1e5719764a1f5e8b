import assert from "node:assert/strict";
import { test } from "node:test";
import { Ring } from "../src/ring/arithmetic.ts";
import { openPayload, wordsOf } from "../src/ring/vector.ts";
import { pack } from "../src/ring/packing.ts";
import { clipped, l2Norm, squareSum } from "../src/strategies/norms.ts";
import { parsePipeline } from "../src/strategies/pipeline/parse.ts";
import { shapeOf, toRing } from "../src/strategies/transforms/mask.ts";
import { bytesOf, Payload, type Vector } from "../src/types.ts";
import { array, bytes, hex, LAYOUT, numbers, same, vectors } from "./support.ts";

test("sums of squares, norms and clipped vectors have the committed bits", () => {
  const told = vectors("norms").vectors;
  assert.equal(told.length, 8);
  for (const { n, "square sum": sum, norm, "last four of clipped": clip } of told) {
    const x = numbers(Number(n)).map((value) => value / 3);
    assert.equal(hex(bytesOf(Float64Array.of(squareSum(x)))), sum);
    assert.equal(hex(bytesOf(Float64Array.of(l2Norm(x)))), norm);
    assert.equal(hex(bytesOf(clipped(x, clip.bound).slice(-4))), clip.values);
  }
});

test("numbers of 1 to 32 bits are packed as committed, and unpacked again", () => {
  const told = vectors("packings"), signed = Float64Array.from(told.numbers, Number);
  assert.equal(hex(pack(new Uint8Array(0), 3)), told.none);
  assert.equal(Object.keys(told.bits).length, 32);
  for (const [bits, wanted] of Object.entries<any>(told.bits)) {
    const ring = new Ring(Number(bits)), put = ring.reduced(ring.put(Int32Array.from(signed)));
    assert.deepEqual([...put], wanted.lanes.map(Number));
    assert.deepEqual([...ring.signed(put)], wanted.signed.map(Number));
    assert.equal(hex(ring.pack(put)), wanted.packed);
    same(ring.unpack(bytes(wanted.packed), put.length), put);
  }
});

test("what a client adds under a mask has the committed lanes and words", () => {
  const told = vectors("rings"), pipeline = parsePipeline(told.pipeline);
  const shape = shapeOf(pipeline, LAYOUT, Number(told.clients));
  assert.deepEqual([shape.ring.bits, shape.length, wordsOf(shape)], [told.bits, told.length, told.words].map(Number));
  assert.equal(told.vectors.length, 3);
  for (const { numbers: whole, weight, buffers, examples, metrics, sent } of told.vectors) {
    const payload = new Payload(new Map([["values", Int32Array.from(whole, Number)]]), weight);
    const fit = {
      delta: new Float32Array(8), buffers: array(buffers) as Vector, numExamples: Number(examples),
      metrics: new Map<string, number>(Object.entries(metrics)),
    };
    const arrays = openPayload(toRing(payload, fit, shape, pipeline), shape);
    assert.deepEqual([...arrays.keys()], Object.keys(sent));
    for (const [name, values] of arrays) same(values, array(sent[name]), name);
  }
});
