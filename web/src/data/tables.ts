/** Rows of a table by a run's schema, as `hedgerow.datasets.own_file` reads them. */

import type { OwnSchema } from "../recipe/own_data.ts";
import type { Bytes } from "../types.ts";
import { asNumber, parted, strip } from "./cells.ts";
import { Unfit } from "./unfit.ts";

const MARKS = [",", ";", "\t"];

/** A table's inputs, `(rows * columns) float64` before shift and scale, and the cells of its label. */
export interface Table {
  readonly values: Float64Array;
  readonly labels: readonly string[];
  /** Of each row, in the file: the first row, with the names, is row 1. */
  readonly rows: readonly number[];
}

/** Read a file's bytes, UTF-8; throws `Unfit`. */
export function readTable(file: Bytes, schema: OwnSchema): Table {
  if (!schema.columns.length) throw new Unfit({ kind: "no columns" });
  const wanted = [...schema.columns, schema.label];
  const cells = cellsOf(textOf(file), wanted);
  const size = schema.columns.length, rows = [...cells.keys()];
  const values = Float64Array.from([...cells.values()].flatMap((row) => row.slice(0, size).map(asNumber)));
  const wrong = schema.outOfRange(values);
  if (wrong >= 0) {
    const column = wrong % size, row = rows[(wrong - column) / size];
    const cell = cells.get(row)?.[column] ?? "";
    throw new Unfit({ kind: "value", row, column: schema.columns[column], cell, allowed: schema.allowed(column) });
  }
  return { values, labels: [...cells.values()].map((row) => row[size]), rows };
}

/** The names in a file's first row, whatever splits it into most. */
export function namesIn(file: Bytes): string[] {
  const text = textOf(file);
  const found = MARKS.map((mark) => firstRow(text, mark));
  return found.reduce((most, names) => (names.length > most.length ? names : most));
}

function textOf(file: Bytes): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(file);
  } catch {
    throw new Unfit({ kind: "encoding" });
  }
}

/** The cells of these columns, by row number; the last column's name determines the delimiter. */
function cellsOf(text: string, wanted: readonly string[]): Map<number, string[]> {
  const label = wanted.at(-1) ?? "";
  const fits = MARKS.map((mark) => firstRow(text, mark)).map((names) => [names.includes(label), names.length] as const);
  const best = fits.reduce((most, [has, number], place) => {
    const [other, most_] = fits[most];
    return Number(has) > Number(other) || (has === other && number > most_) ? place : most;
  }, 0);
  const rows = new Map(parted(text, MARKS[best]));
  const names = ([...rows.values()][0] ?? []).map(strip);
  for (const column of wanted) {
    const times = names.filter((name) => name === column).length;
    if (!times) throw new Unfit({ kind: "no column", column, names });
    if (times > 1) throw new Unfit({ kind: "two columns", column });
  }
  const places = wanted.map((name) => names.indexOf(name));
  const found = new Map<number, string[]>();
  for (const [row, cells] of [...rows].slice(1)) {
    if (cells.length !== names.length) {
      throw new Unfit({ kind: "cells", row, found: cells.length, wanted: names.length });
    }
    found.set(row, places.map((place) => strip(cells[place])));
  }
  if (!found.size) throw new Unfit({ kind: "empty" });
  return found;
}

function firstRow(text: string, mark: string): string[] {
  try {
    for (const [, row] of parted(text, mark)) return row.map(strip);
  } catch (error) {
    if (!(error instanceof Unfit)) throw error;
  }
  return [];
}
