/** What somebody has drawn, sensed or picked, as it is kept on the device: one record for each. */

import type { Store } from "../node/store.ts";
import type { Bytes } from "../types.ts";
import type { Stroke } from "./strokes.ts";

/** Strokes, a recording of sensors, a picture's file, or a table's. */
export type Entry = (
  | { readonly kind: "drawn"; readonly strokes: readonly Stroke[]; readonly label: string }
  | { readonly kind: "moved"; readonly recording: Float64Array<ArrayBuffer>; readonly label: string }
  | { readonly kind: "picture"; readonly file: Bytes; readonly name: string; readonly label: string }
  | { readonly kind: "table"; readonly file: Bytes; readonly name: string }
);

export type Kind = Entry["kind"];

/** An entry where it lies. */
export type Kept = Entry & { readonly key: string };

const PREFIX = "data/";
const FORM = 1;
const HEAD = 4; // bytes of the length of what is told in words

/** The device's entries, in the order in which they came. */
export class Entries {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Their keys; other keys, other data. */
  async keys(): Promise<string[]> {
    return this.#store.names(PREFIX);
  }

  async all(): Promise<Kept[]> {
    const found: Kept[] = [];
    for (const key of await this.keys()) {
      const bytes = await this.#store.get(key);
      if (bytes) found.push({ ...unpacked(bytes), key });
    }
    return found;
  }

  /** Keep some, all of them or none; returns their keys. */
  async add(entries: readonly Entry[], now = Date.now()): Promise<string[]> {
    const random = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0"));
    const keys = entries.map((_, place) => `${PREFIX}${padded(now, 14)}-${padded(place, 6)}-${random.join("")}`);
    await this.#store.put(new Map(entries.map((entry, place) => [keys[place], packed(entry)])));
    return keys;
  }

  async remove(...keys: readonly string[]): Promise<void> {
    await this.#store.put(new Map(keys.map((key) => [key, undefined])));
  }
}

function padded(value: number, digits: number): string {
  return String(value).padStart(digits, "0");
}

/** What is told in words, after its length, and then the numbers or the file. */
function packed(entry: Entry): Bytes {
  const [told, body] = parts(entry);
  const words = new TextEncoder().encode(JSON.stringify({ form: FORM, kind: entry.kind, ...told }));
  const bytes = new Uint8Array(HEAD + words.length + body.length);
  new DataView(bytes.buffer).setUint32(0, words.length, true);
  bytes.set(words, HEAD);
  bytes.set(body, HEAD + words.length);
  return bytes;
}

function parts(entry: Entry): [object, Uint8Array] {
  switch (entry.kind) {
    case "drawn": {
      const lengths = entry.strokes.map((stroke) => stroke.length);
      const all = Float32Array.from(entry.strokes.flatMap((stroke) => [...stroke]));
      return [{ label: entry.label, lengths }, new Uint8Array(all.buffer)];
    }
    case "moved": return [{ label: entry.label }, new Uint8Array(entry.recording.slice().buffer)];
    case "picture": return [{ label: entry.label, name: entry.name }, entry.file];
    case "table": return [{ name: entry.name }, entry.file];
  }
}

function unpacked(bytes: Bytes): Entry {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const told = JSON.parse(new TextDecoder().decode(bytes.subarray(HEAD, HEAD + size)));
  const file = bytes.slice(HEAD + size);
  if (told.form !== FORM) throw new RangeError(`data of form ${told.form}; this page reads form ${FORM}`);
  const { kind, label, name } = told;
  if (kind === "drawn") return { kind, label, strokes: strokesOf(new Float32Array(file.buffer), told.lengths) };
  if (kind === "moved") return { kind, label, recording: new Float64Array(file.buffer) };
  return kind === "picture" ? { kind, label, name, file } : { kind: "table", name, file };
}

function strokesOf(all: Float32Array<ArrayBuffer>, lengths: readonly number[]): Stroke[] {
  let at = 0;
  return lengths.map((length) => all.slice(at, (at += length)));
}
