/** Graphs are read, bounded, and held to a run as in Python. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphRules } from "../src/client/graph_rules.ts";
import { checkRun, type Run } from "../src/graphs/agreement.ts";
import { OPERATORS } from "../src/graphs/allowed.ts";
import { Graphs } from "../src/graphs/bundle.ts";
import { BadGraphs } from "../src/graphs/errors.ts";
import { inspect, IR_VERSION, LARGEST, OPSET } from "../src/graphs/inspection.ts";
import { MOST, Offer } from "../src/graphs/offer.ts";
import { MESSAGES } from "../src/graphs/protobuf.ts";
import { signatureOf } from "../src/graphs/signature.ts";
import { DTYPES, SIZES } from "../src/graphs/values.ts";
import { ARENA, DEEPEST, MOST_DIMS, MOST_NAMES, MOST_NODES, RUNTIME } from "../src/graphs/walk.ts";
import { Split } from "../src/strategies/split.ts";
import type { Bytes } from "../src/types.ts";
import { plain } from "../src/wire/text.ts";
import { type Case, goldenCases, goldenGraphs, runOf } from "./graph_cases.ts";
import { array, golden, same } from "./support.ts";

const CASES = goldenCases(), ALLOWED = JSON.parse(golden("graphs/allowed.json")), ENOUGH = 2 ** 26;
const [LOGISTIC] = CASES, PERSONAL = CASES.find(({ name }) => name === "momentum") as Case;

test("the operators, fields, dtypes and limits are Python's, and no others", () => {
  const operators = [...OPERATORS].map(([name, { inputs, attributes }]) => {
    return [name, { inputs, attributes: [...attributes].sort() }];
  });
  assert.deepEqual(Object.fromEntries(operators), ALLOWED.operators);
  const fields = Object.entries(MESSAGES).map(([message, each]) => {
    return [message, Object.fromEntries(Object.entries(each).map(([number, [name, kind]]) => {
      return [number, [name, kind.replace("*", ""), kind.endsWith("*")]];
    }))];
  });
  assert.deepEqual(Object.fromEntries(fields), ALLOWED.fields);
  const dtypes = Object.entries(DTYPES).map(([number, name]) => [number, [name, SIZES[name]]]);
  assert.deepEqual(Object.fromEntries(dtypes), ALLOWED.dtypes);
  assert.deepEqual({
    largest: LARGEST, opset: OPSET, ir_version: IR_VERSION, most: MOST, nodes: MOST_NODES, names: MOST_NAMES,
    dims: MOST_DIMS, deepest: DEEPEST, runtime: RUNTIME, arena: ARENA,
  }, ALLOWED.limits);
});

test("graphs that are those of the run are taken, and need as much memory as Python says", () => {
  assert.equal(CASES.length, 4);
  for (const each of CASES) {
    assert.equal(inspect(each.graphs, ENOUGH), Number(each.told.needed), each.name);
    const start = checkRun(each.graphs, runOf(each));
    assert.equal(start === undefined, each.told.start === null);
    if (start) same(start.parameters, array(each.told.start as never));
  }
});

test("graphs that need more memory than is allowed are refused", () => {
  const needed = Number(LOGISTIC.told.needed);
  assert.equal(inspect(LOGISTIC.graphs, needed), needed);
  assert.throws(() => inspect(LOGISTIC.graphs, 2 ** 24), {
    message: "train.onnx: a run of it may take 17 MB; at most 16 MB are allowed",
  });
  assert.throws(() => inspect(LOGISTIC.graphs, 1.5 * 2 ** 20), /at most 1\.5 MB are allowed$/);
});

const KEY = (LOGISTIC.told.offer as { key: string }).key;
const SIGNED = Offer.fromJson(plain(LOGISTIC.told.offer)), UNSIGNED = new Offer(SIGNED.hash, SIGNED.size);
const OTHER = Offer.fromJson(plain(PERSONAL.told.offer));

test("what a device's policy does not list is refused by its rule", () => {
  assert.equal(SIGNED.signer, KEY);
  const rules = new GraphRules({ keys: [KEY], in_the_clear: true });
  assert.deepEqual(rules.refusals(SIGNED, false), []);
  assert.deepEqual(new GraphRules({ hashes: [SIGNED.hash] }).refusals(UNSIGNED, true), []);
  const short = SIGNED.hash.slice(0, 16), unlisted = "the device's policy does not list";
  for (const forged of [UNSIGNED, new Offer(SIGNED.hash, SIGNED.size, KEY, OTHER.signature),
    new Offer(SIGNED.hash, SIGNED.size, "0".repeat(64), SIGNED.signature)]) {
    assert.equal(forged.signer, "");
    assert.deepEqual(rules.refusals(forged, false), [
      `rule graphs: the graphs ${short}... are not signed, and their hash ${unlisted}`,
    ]);
  }
  assert.deepEqual(new GraphRules({ keys: ["1".repeat(64)] }).refusals(SIGNED, true), [
    `rule graphs: the graphs ${short}... are signed by ${KEY.slice(0, 16)}..., whose key ${unlisted}`,
  ]);
});

test("graphs that are cut off, others, or damaged are refused", () => {
  const data = goldenGraphs("logistic"), told = (offer: Offer, given: Bytes) => {
    try {
      offer.opened(given);
    } catch (error) {
      assert.ok(error instanceof BadGraphs);
      return error.message;
    }
    return "";
  };
  assert.equal(told(UNSIGNED, data), "");
  assert.equal(told(UNSIGNED, data.subarray(1)), "what was sent as graphs is something else");
  const cut = new Offer(SIGNED.hash, data.length - 1);
  assert.equal(told(cut, data.subarray(0, -1)), "what was sent as graphs is cut off");
  assert.equal(told(new Offer("0".repeat(64), data.length), data), "the graphs are not those whose hash was named");
  const damaged = data.slice();
  damaged[damaged.length - 1] ^= 1;
  assert.match(told(UNSIGNED, damaged), /^evaluate\.onnx is not the graph that its manifest describes: its SHA-256 is /);
  assert.throws(() => new Offer(SIGNED.hash, MOST + 1), BadGraphs);
});

test("a graph that is not the one of its own manifest is refused", () => {
  const { graphs: { train, evaluate }, graphs } = LOGISTIC;
  const changed = JSON.parse(JSON.stringify(plain(graphs.manifest)));
  changed.graphs["train.onnx"].local.momentum = 0.5;
  const false_ = new Graphs(new TextEncoder().encode(JSON.stringify(changed)), train, evaluate);
  assert.throws(() => inspect(false_, ENOUGH), {
    message: "train.onnx: the manifest is not the one that the graph itself holds",
  });
});

test("graphs of another run are refused by what differs", () => {
  const { local } = LOGISTIC, strategy = (changed: object) => {
    return { strategy: { ...runOf(LOGISTIC).strategy, local: local.with(changed) } };
  };
  const differing: [Run, string][] = [
    [runOf(LOGISTIC, strategy({ batch_size: 3n })), "batch_size is 2 in the graphs, and 3 in the run"],
    [runOf(LOGISTIC, strategy({ momentum: 0.9 })), "momentum is 0.0 in the graphs, and 0.9 in the run"],
    [runOf(LOGISTIC, strategy({ optimizer: "adam" })), "optimizer is 'sgd' in the graphs, and 'adam' in the run"],
    [runOf(LOGISTIC, {}, true), "the graph that trains does not take 'correction', unlike the run's training"],
    [runOf(LOGISTIC, { kind: "regression" }), "loss is 'cross_entropy' in the graphs, and 'squared_error' in the run"],
    [runOf(PERSONAL, { seed: 4n }), "personal layers start from the seed 3 in the graphs, and 4 in the run"],
  ];
  for (const [run, message] of differing) {
    const graphs = message.startsWith("personal") ? PERSONAL.graphs : LOGISTIC.graphs;
    assert.throws(() => checkRun(graphs, run), { message });
  }
  const otherLayout = runOf(LOGISTIC, { layout: "0".repeat(16) });
  assert.throws(() => checkRun(LOGISTIC.graphs, otherLayout), /^RangeError: the model's layout is '/);
  const { layout } = signatureOf(PERSONAL.graphs.manifestOf("train.onnx"), "train");
  const nothing = new Split(layout, new Set());
  const shared = { ...runOf(PERSONAL).strategy, split: () => nothing };
  assert.throws(() => checkRun(PERSONAL.graphs, runOf(PERSONAL, { strategy: shared })), {
    message: "the tensors that stay on a device are ['linear.weight', 'linear.bias'] in the graphs, and [] in the run",
  });
});
