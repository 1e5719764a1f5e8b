/** An entry's samples, by a run's schema. */

import type { OwnSchema } from "../recipe/own_data.ts";
import { asNumber } from "./cells.ts";
import type { Entry, Kind } from "./entries.ts";
import { CHANNELS, windows } from "./motion.ts";
import { drawnPicture } from "./strokes.ts";
import { readTable } from "./tables.ts";
import { Unfit } from "./unfit.ts";

/** Samples of one entry: values for a trainer, and a target for each sample. */
export interface Fitted {
  readonly inputs: Float32Array;
  readonly targets: readonly number[];
}

/** Pixels of a picture's file, `(channels * height * width)` from 0 to 255; throws `Unfit` if it is no picture. */
export type Pixels = (file: Uint8Array<ArrayBuffer>, shape: readonly number[]) => Promise<ArrayLike<number>>;

/** The kinds of entries that can be samples of a run. */
export function kindsFor(schema: OwnSchema): Kind[] {
  if (schema.columns.length) return ["table"];
  const shape = schema.inputShape;
  if (shape.length === 3 && (shape[0] === 1 || shape[0] === 3)) {
    return shape[0] === 1 ? ["drawn", "picture"] : ["picture"];
  }
  return shape.length === 2 && shape[0] === CHANNELS ? ["moved"] : [];
}

/** An entry's samples; throws `Unfit`, which says why it has none. */
export async function fitted(entry: Entry, schema: OwnSchema, pixels: Pixels): Promise<Fitted> {
  if (!kindsFor(schema).includes(entry.kind)) throw new Unfit({ kind: "other kind" });
  if (entry.kind === "table") {
    const { values, labels, rows } = readTable(entry.file, schema);
    const targets = labels.map((label, place) => target(label, schema, rows[place]));
    return { inputs: schema.prepare(values), targets };
  }
  const answer = target(entry.label, schema);
  const samples = await valuesOf(entry, schema, pixels);
  const values = new Float64Array(samples.length * schema.size);
  samples.forEach((sample, place) => values.set(sample, place * schema.size));
  if (schema.outOfRange(values) >= 0) throw new Unfit({ kind: "range", allowed: schema.allowed() });
  return { inputs: schema.prepare(values), targets: samples.map(() => answer) };
}

/** The first sample of an entry, `(size) float32`, whatever its label; throws `Unfit`. */
export async function sampleOf(entry: Entry, schema: OwnSchema, pixels: Pixels): Promise<Float32Array> {
  if (entry.kind === "table" || !kindsFor(schema).includes(entry.kind)) throw new Unfit({ kind: "other kind" });
  const [sample] = await valuesOf(entry, schema, pixels);
  if (schema.outOfRange(sample) >= 0) throw new Unfit({ kind: "range", allowed: schema.allowed() });
  return schema.prepare(sample);
}

/** Samples before shift and scale; pictures are from 0 to 1. */
async function valuesOf(
  entry: Exclude<Entry, { kind: "table" }>, schema: OwnSchema, pixels: Pixels,
): Promise<Float64Array[]> {
  const shape = schema.inputShape;
  if (entry.kind === "moved") {
    const found = windows(entry.recording, shape[1]);
    if (!found.length) throw new Unfit({ kind: "too short" });
    return found;
  }
  const found = entry.kind === "drawn"
    ? drawnPicture(entry.strokes, shape[1], shape[2]) : await pixels(entry.file, shape);
  return [Float64Array.from(found, (pixel) => pixel / 255)];
}

/** The class of a label, or its number if there are no classes. */
function target(label: string, schema: OwnSchema, row?: number): number {
  const found = schema.classes.length ? schema.classes.indexOf(label) : Math.fround(asNumber(label));
  if (!Number.isFinite(found) || (schema.classes.length && found < 0)) {
    throw new Unfit({ kind: "label", row, label, classes: schema.classes });
  }
  return found;
}
