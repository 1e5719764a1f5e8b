/** Ways to give a sample: drawing, moving, picking a picture or a table. */

import type { Entry, Kind } from "../../data/entries.ts";
import { Unfit } from "../../data/unfit.ts";
import type { Bytes } from "../../types.ts";
import { el, field } from "../dom.ts";
import type { Texts } from "../texts/texts.ts";
import { Drawing } from "./drawing.ts";
import { Recording } from "./recording.ts";

/** A way that is shown; `given` is what somebody has made with it, and where it ends by itself. */
export interface Way {
  readonly element: HTMLElement;
  /** What is there to keep; throws `Unfit` if it is nothing. Not of a way that gives by itself. */
  readonly take?: () => Entry;
  readonly clear?: () => void;
  /** It is left. */
  readonly end?: () => void;
}

type Give = (entries: readonly Entry[]) => void;

/**
 * The way for a kind. `label` is asked for when something is given; `give` takes what comes by itself; `changed` is
 * told of each stroke of a drawing.
 */
export function wayFor(
  kind: Kind, texts: Texts, label: () => string, give: Give,
  { changed, pictures = texts.data.pictures }: { changed?: () => void; pictures?: string } = {},
): Way {
  switch (kind) {
    case "drawn": return drawn(texts, label, give, changed);
    case "moved": return moved(texts, label, give);
    case "picture": return picked(pictures, "image/*", async (file) => (
      { kind: "picture", file: await bytesOf(file), name: file.name, label: label() }), give);
    case "table": return picked(texts.data.table, ".csv,text/csv,text/plain", async (file) => (
      { kind: "table", file: await bytesOf(file), name: file.name }), give);
  }
}

function drawn(texts: Texts, label: () => string, give: Give, changed?: () => void): Way {
  const take = (): Entry => {
    const strokes = drawing.strokes;
    if (!strokes.length) throw new Unfit({ kind: "nothing" });
    return { kind: "drawn", strokes, label: label() };
  };
  const drawing = new Drawing(texts, () => give([take()]), changed);
  return { element: drawing.element, take, clear: () => drawing.clear() };
}

function moved(texts: Texts, label: () => string, give: Give): Way {
  const recording = new Recording(texts, (found) => give([{ kind: "moved", recording: found, label: label() }]));
  return { element: recording.element, end: () => recording.end() };
}

function picked(text: string, accept: string, read: (file: File) => Promise<Entry>, give: Give): Way {
  const input = el("input", { type: "file", accept, multiple: true, on: {
    change: () => void Promise.all([...(input.files ?? [])].map(read)).then((entries) => {
      input.value = "";
      if (entries.length) give(entries);
    }),
  } });
  return { element: field(text, input) };
}

async function bytesOf(file: File): Promise<Bytes> {
  return new Uint8Array(await file.arrayBuffer());
}
