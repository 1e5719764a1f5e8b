/** JSON from another machine, as Python reads it: a whole number is a `bigint`, so that `1` and `1.0` stay apart. */

import { float, json } from "../wording.ts";

export type Json = null | boolean | bigint | number | string | readonly Json[] | JsonTable;
export interface JsonTable { readonly [name: string]: Json }

const NUMBER = /(-?(?:0|[1-9]\d*))(\.\d+)?([eE][+-]?\d+)?/;
const QUOTED = /("[^"\\\u0000-\u001f]*(?:\\.[^"\\\u0000-\u001f]*)*")/;
const TOKEN = new RegExp(
  `[\\t\\n\\r ]*(?:([{}[\\],:])|${NUMBER.source}|${QUOTED.source}|(true|false|null|NaN|-?Infinity))`, "y",
);
const NAMED: Readonly<Record<string, Json>> = {
  true: true, false: false, null: null, NaN: Number.NaN, Infinity: Infinity, "-Infinity": -Infinity,
};
const DEEPEST = 100, LONGEST_NUMBER = 400;

/** The value that is written as JSON. Throws `RangeError`, which does not repeat the text. */
export function readJson(text: string): Json {
  const reader = new Reader(text), value = reader.value(0);
  reader.end();
  return value;
}

/** A table of values by name, and nothing else. */
export function isTable(value: unknown): value is JsonTable {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The same with whole numbers as numbers, for values that no hash is made of. */
export function plain(value: Json): unknown {
  if (typeof value === "bigint") return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  return isTable(value) ? Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)])) : value;
}

/** The text that Python's `json.dumps` writes of what `readJson` has read. */
export function writeJson(value: Json): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? float(value) : String(value);
  if (Array.isArray(value)) return `[${value.map(writeJson).join(", ")}]`;
  if (!isTable(value)) return json(value);
  return `{${Object.entries(value).map(([key, each]) => `${json(key)}: ${writeJson(each)}`).join(", ")}}`;
}

class Reader {
  #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Json {
    if (depth > DEEPEST) throw new RangeError("it is nested too deeply");
    const [, mark, whole, part, power, quoted, named] = this.#take();
    if (mark === "{") return this.#table(depth);
    if (mark === "[") return this.#list(depth);
    if (quoted !== undefined) return textIn(quoted, this.#at);
    if (named !== undefined) return NAMED[named];
    if (whole === undefined || whole.length > LONGEST_NUMBER) throw wrong(this.#at);
    return part === undefined && power === undefined ? BigInt(whole) : Number(whole + (part ?? "") + (power ?? ""));
  }

  end(): void {
    if (/[^\t\n\r ]/.test(this.#text.slice(this.#at))) throw wrong(this.#at);
  }

  #table(depth: number): JsonTable {
    const found: Record<string, Json> = Object.create(null);
    if (this.#is("}")) return found;
    for (;;) {
      const quoted = this.#take()[5];
      if (quoted === undefined) throw wrong(this.#at);
      const name = textIn(quoted, this.#at);
      if (!this.#is(":")) throw wrong(this.#at);
      found[name] = this.value(depth + 1);
      if (this.#is("}")) return found;
      if (!this.#is(",")) throw wrong(this.#at);
    }
  }

  #list(depth: number): Json[] {
    const found: Json[] = [];
    if (this.#is("]")) return found;
    for (;;) {
      found.push(this.value(depth + 1));
      if (this.#is("]")) return found;
      if (!this.#is(",")) throw wrong(this.#at);
    }
  }

  #take(): RegExpExecArray {
    TOKEN.lastIndex = this.#at;
    const found = TOKEN.exec(this.#text);
    if (!found) throw wrong(this.#at);
    this.#at = TOKEN.lastIndex;
    return found;
  }

  #is(mark: string): boolean {
    const start = this.#at;
    TOKEN.lastIndex = start;
    const found = TOKEN.exec(this.#text);
    if (found?.[1] !== mark) return false;
    this.#at = TOKEN.lastIndex;
    return true;
  }
}

function textIn(quoted: string, at: number): string {
  try {
    return JSON.parse(quoted) as string;
  } catch {
    throw wrong(at);
  }
}

function wrong(at: number): RangeError {
  return new RangeError(`it is no JSON (character ${at + 1})`);
}
