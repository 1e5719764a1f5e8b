/**
 * Times steps of local training by the graphs of a folder: `node build/tests/steps.js FOLDER STEPS`.
 *
 * Prints the processor's milliseconds to inspect and load the graph, with the first step; then, for every line that
 * comes in, trains for so many steps, and prints the milliseconds a step and the process's memory in MiB.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { AnySamples } from "../src/client/fitting.ts";
import { OnnxTrainer } from "../src/client/onnx/trainer.ts";
import { EVALUATE, Graphs, MANIFEST, TRAIN } from "../src/graphs/bundle.ts";
import { inspect } from "../src/graphs/inspection.ts";
import { type Signature, signatureOf } from "../src/graphs/signature.ts";
import { generator } from "../src/rng.ts";
import { LocalTraining } from "../src/training.ts";
import { product, type Vector } from "../src/types.ts";

const [folder, steps] = [process.argv[2], Number(process.argv[3])];
const [described, train, evaluate] = [MANIFEST, TRAIN, EVALUATE].map((name) => Uint8Array.from(read(name)));
const graphs = new Graphs(described, train, evaluate), where = { seed: 0n, round: 1, client: "a" };
const signature = signatureOf(graphs.manifestOf(TRAIN), "train"), empty = new Float32Array(0);
const parameters = numbers();
const local = new LocalTraining({ ...signature.local?.fields, learning_rate: 0.05 });

function read(name: string): Buffer {
  return readFileSync(join(folder, name));
}

function numbers(): Vector {
  const data = read("parameters.npy"), start = data.length - 4 * signature.layout.dimension;
  return new Float32Array(Uint8Array.from(data.subarray(start)).buffer);
}

/** So many batches of made-up samples. */
function samples({ inputs }: Signature, batches: number): AnySamples {
  const x = inputs.get("x"), draws = generator(0, "samples"), [rows, ...shape] = x?.shape ?? [];
  const n = rows * batches, size = n * product(shape), classes = outputsOf();
  const whole = (length: number) => BigInt64Array.from({ length }, () => BigInt(draws.word() % classes));
  const values = Float32Array.from({ length: x?.dtype === "int64" ? 0 : size }, () => 2 * draws.float() - 1);
  return { inputs: x?.dtype === "int64" ? whole(size) : values, targets: whole(n), shape };
}

function outputsOf(): number {
  return signatureOf(graphs.manifestOf(EVALUATE), "evaluate").outputs.get("outputs")?.shape[1] ?? 2;
}

/** The processor's milliseconds so far. */
function spent(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const began = spent(), model = { parameters, buffers: empty, constants: empty };
inspect(graphs, 2 ** 31);
const trainer = new OnnxTrainer(graphs);
await trainer.fit(model, samples(signature, 1), local, where);
console.log((spent() - began).toFixed(2));

const data = samples(signature, steps);
for await (const _ of createInterface({ input: process.stdin })) {
  const before = spent();
  await trainer.fit(model, data, local, where);
  console.log(((spent() - before) / steps).toFixed(4), (process.memoryUsage.rss() / 2 ** 20).toFixed(1));
}
