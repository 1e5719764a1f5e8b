/** Local training by graphs, held to what Python's trainer finds on ONNX Runtime. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Draws } from "../src/client/draws.ts";
import type { AnySamples } from "../src/client/fitting.ts";
import { trainersBy } from "../src/client/onnx/make.ts";
import { open } from "../src/client/onnx/session.ts";
import { OnnxTrainer } from "../src/client/onnx/trainer.ts";
import { Diverged } from "../src/client/trainer.ts";
import { Offer } from "../src/graphs/offer.ts";
import { signatureOf } from "../src/graphs/signature.ts";
import type { Described } from "../src/recipe/announcement.ts";
import { Refused } from "../src/secure/errors.ts";
import type { Vector } from "../src/types.ts";
import { plain } from "../src/wire/text.ts";
import { type Case, fitted, goldenCases, goldenGraphs, runOf } from "./graph_cases.ts";
import { array, same } from "./support.ts";

const CASES = goldenCases(), CLOSE = 1e-6;
const [LOGISTIC] = CASES, DRAWN = CASES.find(({ name }) => name === "norms and dropout") as Case;

function near(found: Vector, wanted: Vector, what: string): void {
  assert.equal(found.length, wanted.length, what);
  found.forEach((value, k) => assert.ok(Math.abs(value - wanted[k]) <= CLOSE, `${what}: ${value}, ${wanted[k]}`));
}

for (const each of CASES) {
  test(`a fit of '${each.name}' is Python's`, async () => {
    const fit = await fitted(each), { delta, buffers, loss, evaluated } = each.told.found as Record<string, never>;
    near(fit.delta, array(delta) as Vector, "delta");
    near(fit.buffers, array(buffers) as Vector, "buffers");
    assert.ok(fit.delta.some((value) => Math.abs(value) > 1e-3));
    assert.ok(Math.abs((fit.metrics.get("loss") ?? 0) - loss) <= CLOSE);
    const trainer = new OnnxTrainer(each.graphs), measured = await trainer.evaluate(each.model, each.samples);
    assert.deepEqual([...measured.keys()], Object.keys(evaluated));
    for (const [name, value] of measured) assert.ok(Math.abs(value - evaluated[name]) <= CLOSE, name);
    await trainer.release();
  });
}

test("nothing is remembered from one fit to the next, and the model stays as it is", async () => {
  const { graphs, model, samples, local, where, correction } = DRAWN, trainer = new OnnxTrainer(graphs);
  const before = model.parameters.slice(), first = await trainer.fit(model, samples, local, where, { correction });
  const measured = await trainer.evaluate(model, samples);
  const other = await trainer.fit(model, samples, local, { ...where, client: "b" }, { correction });
  assert.ok(other.delta.some((value, k) => Math.abs(value - first.delta[k]) > 1e-3));
  const bad = { ...model, parameters: model.parameters.map(() => NaN) };
  await assert.rejects(trainer.fit(bad, samples, local, where, { correction }), Diverged);
  for (const released of [false, true]) {
    if (released) await trainer.release();
    const again = await trainer.fit(model, samples, local, where, { correction });
    same(again.delta, first.delta);
    same(again.buffers, first.buffers);
    assert.deepEqual(await trainer.evaluate(model, samples), measured);
  }
  same(model.parameters, before);
  await trainer.release();
});

test("fits and evaluations at the same time do not disturb each other, nor does a release meanwhile", async () => {
  const each = CASES.map((one) => ({ ...one, trainer: new OnnxTrainer(one.graphs) }));
  const fit = async ({ trainer, model, samples, local, where, correction }: (typeof each)[number]) => {
    return (await trainer.fit(model, samples, local, where, { correction })).delta;
  };
  const alone: Vector[] = [];
  for (const one of each) alone.push(await fit(one));
  const together = await Promise.all(each.map(async (one) => {
    const found = fit(one), measured = one.trainer.evaluate(one.model, one.samples);
    await one.trainer.release();
    return [await found, await measured, await one.trainer.evaluate(one.model, one.samples)] as const;
  }));
  together.forEach(([delta, measured, later], k) => {
    same(delta, alone[k]);
    assert.deepEqual(measured, later);
  });
  for (const { trainer } of each) await trainer.release();
});

test("what dropout keeps is drawn as in Python, whatever dimension counts the samples", () => {
  const draw = (shape: number[], axis: number, rows: number, samples: number) => {
    return [...new Draws({ seed: 3n, round: 1, client: "a" }).mask({ shape, probability: 0.5, axis }, rows, samples)];
  };
  assert.deepEqual(draw([2, 4], 0, 2, 2), [1, 1, 0, 1, 0, 1, 1, 0]);
  assert.deepEqual(draw([2, 3], 1, 3, 2), [1, 0, 1, 1, 1, 1]);
});

test("data and settings that do not fit the graph are refused with Python's sentence", async () => {
  const { graphs, model, samples, local, where } = LOGISTIC, trainer = new OnnxTrainer(graphs);
  const who = "client 'a', round 2: ", fails = `${who}the model or its loss fails on samples of shape`;
  const few = (changed: Partial<AnySamples>): AnySamples => ({ ...samples, ...changed });
  const refused: [AnySamples, string][] = [
    [few({ targets: new BigInt64Array(0) }), `${who}there are no samples; there must be at least one`],
    [few({ inputs: (samples.inputs as Vector).subarray(2) }),
      `${who}x has 10 rows and y has 11; they must have the same number`],
    [few({ shape: [1, 2] }), `${fails} (1, 2) (float32) with targets (int64) from 0 to 1: the graph takes samples of`
      + " shape (2,) (float32), and these have (1, 2) (float32)"],
    [few({ targets: (samples.targets as BigInt64Array<ArrayBuffer>).map((y) => y + 6n) }),
      `${fails} (2,) (float32) with targets (int64) from 6 to 7: target `],
  ];
  for (const [data, text] of refused) {
    await assert.rejects(trainer.fit(model, data, local, where), (error: Error) => {
      assert.ok(error instanceof RangeError && error.message.startsWith(text), error.message);
      return true;
    });
  }
  await assert.rejects(trainer.fit(model, samples, local.with({ momentum: 0.5 }), where), {
    message: `${who}momentum is 0.5, and the graph was exported with 0.0; train with that, or export it again`,
  });
  const correction = new Float32Array(6);
  await assert.rejects(trainer.fit(model, samples, local, where, { correction }), {
    message: `${who}the graph takes no correction of its gradients; export it for this strategy`,
  });
  const short = { ...model, parameters: new Float32Array(5) };
  await assert.rejects(trainer.fit(short, samples, local, where), {
    message: "the model's parameters are float32 of shape (5,); this trainer's layout has float32 of shape (6,)",
  });
  await assert.rejects(trainer.initial(0n), /holds no values to start from/);
  await trainer.release();
});

test("a model's outputs are those of its samples, and of no row that is filled up", async () => {
  const { graphs, model, samples } = LOGISTIC, trainer = new OnnxTrainer(graphs);
  const found = await trainer.outputs(model, samples.inputs, samples.shape);
  const [a, b, c, d, e, f] = model.parameters, x = samples.inputs as Vector;
  const wanted = Float32Array.from({ length: x.length }, (_, k) => {
    const row = k - (k % 2), [left, right, bias] = k % 2 ? [c, d, f] : [a, b, e];
    return x[row] * left + x[row + 1] * right + bias;
  });
  near(found, wanted, "outputs");
  await trainer.release();
});

test("what is no graph is refused when it is loaded, and nothing is written to the console", async () => {
  const { graphs } = LOGISTIC, signature = signatureOf(graphs.manifestOf("train.onnx"), "train"), said: unknown[] = [];
  const { error, warn, log } = console;
  console.error = console.warn = console.log = (...given: unknown[]) => said.push(given);
  try {
    await assert.rejects(open(graphs.train.slice(0, 500), signature), /ONNX Runtime cannot load the graph: /);
    await assert.rejects(open(graphs.evaluate, signature), /other tensors than its manifest says: it has parameters/);
  } finally {
    Object.assign(console, { error, warn, log });
  }
  assert.deepEqual(said, []);
});

test("a run's trainer is made from graphs that are what they must be, and others are refused by the rule", async () => {
  const graphs = Offer.fromJson(plain(LOGISTIC.told.offer));
  const run = { ...runOf(LOGISTIC), graphs } as unknown as Described;
  const data = goldenGraphs("logistic"), make = trainersBy(), { trainer, start } = await make(run, data, 2 ** 26);
  assert.equal(trainer.layout.fingerprint, run.layout);
  assert.equal(start, undefined);
  const refusals: [Promise<unknown>, RegExp][] = [
    [make(run, data, 2 ** 20), /^rule graphs: train\.onnx: a run of it may take 17 MB; at most 1 MB are allowed$/],
    [make({ ...run, kind: "regression" }, data, 2 ** 26), /^rule graphs: loss is 'cross_entropy' in the graphs, and /],
    [make(run, data.subarray(1), 2 ** 26), /^rule graphs: what was sent as graphs is something else$/],
  ];
  for (const [refused, text] of refusals) {
    await assert.rejects(refused, (error) => {
      return error instanceof Refused && error.why === "AgainstPolicy" && text.test(error.message);
    });
  }
});
