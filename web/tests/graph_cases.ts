/** Fits by graphs, as `tests/phone_fits.py` writes them. */

import { Offer } from "../src/graphs/offer.ts";
import type { Run } from "../src/graphs/agreement.ts";
import type { Graphs } from "../src/graphs/bundle.ts";
import { signatureOf } from "../src/graphs/signature.ts";
import { Split } from "../src/strategies/split.ts";
import type { AnySamples } from "../src/client/fitting.ts";
import { OnnxTrainer } from "../src/client/onnx/trainer.ts";
import type { Where } from "../src/client/trainer.ts";
import { LocalTraining } from "../src/training.ts";
import type { Bytes, Fit, Model, Vector } from "../src/types.ts";
import { type Json, type JsonTable, plain, readJson } from "../src/wire/text.ts";
import { array, bytes, golden, goldenBytes } from "./support.ts";

/** One fit, and all that it needs. */
export interface Case {
  readonly name: string;
  readonly graphs: Graphs;
  readonly model: Model;
  readonly samples: AnySamples;
  readonly local: LocalTraining;
  readonly where: Where;
  readonly correction: Vector | undefined;
  /** As it was written. */
  readonly told: JsonTable;
}

/** The cases in a text; each has its graphs in it. */
export function casesIn(text: string): Case[] {
  return Object.entries(readJson(text) as JsonTable).map(([name, each]) => {
    return caseOf(name, each as JsonTable, bytes((each as JsonTable).graphs as string));
  });
}

/** The golden cases, whose graphs lie beside them. */
export function goldenCases(): Case[] {
  return Object.entries(readJson(golden("graphs/fits.json")) as JsonTable).map(([name, each]) => {
    return caseOf(name, each as JsonTable, goldenGraphs(name));
  });
}

/** Golden graphs as they travel. */
export function goldenGraphs(name: string): Bytes {
  return goldenBytes(`graphs/${name.replaceAll(" ", "-")}.graphs`);
}

function caseOf(name: string, told: JsonTable, travelled: Bytes): Case {
  const { samples, model, where, correction } = told as Readonly<Record<string, JsonTable>>;
  const { seed, round, client } = where;
  return {
    name,
    graphs: Offer.fromJson(plain(told.offer)).opened(travelled),
    model: {
      parameters: vector(model.parameters), buffers: vector(model.buffers), constants: vector(model.constants),
    },
    samples: {
      inputs: vector(samples.inputs), targets: vector(samples.targets), shape: sizes(samples.shape),
      targetShape: sizes(samples.targetShape),
    },
    local: new LocalTraining(told.local as JsonTable),
    where: { seed: seed as bigint, round: Number(round), client: client as string },
    correction: correction === null ? undefined : vector(correction),
    told,
  };
}

/** The run that a case's graphs are of. */
export function runOf(
  { graphs, local, told }: Case, changed: Partial<Run> = {}, corrects = told.correction !== null,
): Run {
  const { layout } = signatureOf(graphs.manifestOf("train.onnx"), "train");
  const personal = new Set(told.personal as string[]);
  const strategy = { local, streams: corrects ? [{ correction: true }] : [], split: () => new Split(layout, personal) };
  return { strategy, kind: "classification", layout: layout.fingerprint, seed: 3n, ...changed };
}

/** What this client's trainer finds. */
export async function fitted({ graphs, model, samples, local, where, correction }: Case): Promise<Fit> {
  const trainer = new OnnxTrainer(graphs);
  try {
    return await trainer.fit(model, samples, local, where, { correction });
  } finally {
    await trainer.release();
  }
}

function vector(told: Json): Vector {
  return array(told as unknown as { dtype: string; hex: string }) as Vector;
}

function sizes(told: Json): number[] {
  return (told as Json[]).map(Number);
}
