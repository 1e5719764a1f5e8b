import assert from "node:assert/strict";
import { test } from "node:test";
import { modelHash } from "../src/strategies/transforms/mask.ts";
import { Payload, PayloadError } from "../src/types.ts";
import { readArray } from "../src/wire/arrays.ts";
import * as codec from "../src/wire/codec.ts";
import { type AnyRecord, ArrayRecord, ConfigRecord, type Content, MetricRecord } from "../src/wire/content.ts";
import { packIdentity, packStage, packVector, unpackStage, unpackTrain } from "../src/wire/messages.ts";
import { packReply } from "../src/wire/replies.ts";
import { array, bytes, hex, LAYOUT, numbers, same, vectors } from "./support.ts";

const TOLD = vectors("messages");
const read = (name: string): Content => codec.decode(bytes(TOLD.messages[name].bytes));
const sent = (content: Content): string => hex(codec.encode(content));

/** A value of the vectors as a record holds it. */
function value(told: any): any {
  if (Array.isArray(told)) return told.map(value);
  return told?.bytes === undefined ? told : bytes(told.bytes);
}

function record({ kind, items }: { kind: string; items: Record<string, any> }): AnyRecord {
  if (kind === "ArrayRecord") {
    return new ArrayRecord(Object.entries(items).map(([name, { stype, data, dtype, shape }]) =>
      [name, { dtype, shape: shape.map(Number), stype, data: bytes(data) }]));
  }
  const values = Object.entries(items).map(([name, told]): [string, any] => [name, value(told)]);
  return kind === "MetricRecord" ? new MetricRecord(values) : new ConfigRecord(values);
}

assert.equal(Object.keys(TOLD.messages).length, 12);
for (const [name, told] of Object.entries<any>(TOLD.messages)) {
  test(`the message '${name}' has the committed bytes, and they are read as its records`, () => {
    const content = new Map(Object.entries<any>(told.records).map(([key, each]) => [key, record(each)]));
    assert.deepEqual(read(name), content);
    assert.equal(sent(content), told.bytes);
    for (const [key, each] of content) {
      if (!(each instanceof ArrayRecord)) continue;
      for (const [at, one] of each) same(readArray(one, at), array(told.records[key].items[at]), at);
    }
  });
}

test("a request is read as what it asks", () => {
  const content = read("train with a stream and clients not counted");
  const asked = unpackTrain(content, LAYOUT, new Map([["control", 8], ["none", 0]]));
  assert.deepEqual([asked.round, asked.seed, asked.clients, asked.constants], [3, 0n, 0, ""]);
  same(asked.model.parameters, numbers(8));
  same(asked.model.buffers, numbers(2, 31));
  same(asked.model.constants, numbers(1, 37));
  same(asked.streams.get("control"), numbers(8, 41));
  assert.deepEqual(asked.uncounted, new Map([["münchen", 2n], ["b", 1n]]));
  assert.equal(unpackTrain(read("train under a mask"), LAYOUT).clients, 10);
  assert.throws(() => unpackTrain(content, LAYOUT), /streams \[control\]/);
});

test("what a client sends has the committed bytes", () => {
  assert.equal(sent(packIdentity("client-0007")), TOLD.messages["query reply"].bytes);
  assert.equal(sent(packStage(Uint8Array.from({ length: 20 }, (_, i) => i))), TOLD.messages.stage.bytes);
  assert.equal(new TextDecoder().decode(unpackStage(read("stage with train"))), "delivery");
  const lanes = Uint8Array.from({ length: 9 }, (_, i) => i), words = BigUint64Array.of(1n, 2n ** 64n - 1n);
  const vector = new Map<string, typeof lanes | typeof words>([["values", lanes], ["words", words]]);
  assert.equal(sent(packVector(vector, bytes("6d61736b6564"))), TOLD.messages["ring vector"].bytes);
  const arrays = new Map<string, Int8Array<ArrayBuffer> | Float32Array<ArrayBuffer>>([
    ["values", Int8Array.from({ length: 8 }, (_, i) => i - 4)], ["scale", Float32Array.of(0.5)],
  ]);
  const reply = {
    payload: new Payload(arrays, 37), streams: new Map([["buffers", numbers(2, 43)], ["control", numbers(8, 47)]]),
    numExamples: 37, metrics: new Map([["loss", 0.25], ["accuracy", 1 / 3]]),
  };
  assert.equal(sent(packReply(reply, { round: 300, client: "client-0007" })), TOLD.messages["train reply"].bytes);
});

test("layout and model have the committed hashes", () => {
  assert.equal(LAYOUT.fingerprint, TOLD.layout.fingerprint);
  const { seed, round, sha256 } = TOLD["model hash"];
  const model = { parameters: numbers(8), buffers: numbers(2, 31), constants: numbers(1, 37) };
  assert.equal(hex(modelHash(model, LAYOUT, seed, Number(round))), sha256);
});

test("a message of very many values is refused, however short it is", () => {
  const truths = (n: number) => {
    const record = new ConfigRecord([["b", new Array<boolean>(n).fill(true)]]);
    return codec.encode(new Map([["a", record]]));
  };
  assert.equal((codec.decode(truths(60_000)).get("a") as ConfigRecord).get("b")?.toString().length, 5 * 60_000 - 1);
  assert.throws(() => codec.decode(truths(100_000)), /too many values/);
});

test("a message with anything written twice, out of order, too long or cut off is refused", () => {
  const good = "0a0e0a016122090a070a016212021002"; // {a: {b: 1}}
  assert.deepEqual(codec.decode(bytes(good)), new Map([["a", new ConfigRecord([["b", 1n]])]]));
  for (const [what, data] of [
    ["cut off", good.slice(0, -2)], ["with more behind it", `${good}00`], ["with an item twice", good + good],
    ["with an unknown field", "0a100a016122090a070a0162120210022800"],
    ["with a longer number", "0a0f0a0161220a0a080a01621203108200"],
    ["with its fields in another order", "0a0e22090a070a0162120210020a0161"],
    ["with two values", "0a100a0161220b0a090a0162120410022001"],
    ["without a value", "0a030a0161"],
    ["with a text that is not UTF-8", "0a0e0a01ff22090a070a016212021002"],
    ["with an empty key that is written", "0a0d0a0022090a070a016212021002"],
  ]) assert.throws(() => codec.decode(bytes(data)), PayloadError, what);
});
