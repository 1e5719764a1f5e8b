/** As much of TOML as a policy has: keys with dots, tables, texts, numbers, truths, and lists of them. */

import type { Json } from "../wire/text.ts";

const KEY = /(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')/, SPACE = "[ \\t]*";
const PATH = `(${KEY.source}(?:${SPACE}\\.${SPACE}${KEY.source})*)`;
const HEAD = new RegExp(`^${SPACE}\\[${SPACE}${PATH}${SPACE}\\]${SPACE}(?:#.*)?$`);
const PAIR = new RegExp(`^${SPACE}${PATH}${SPACE}=${SPACE}(.*)$`, "s");
const VALUE = new RegExp(
  [
    `(true|false)`, `([+-]?(?:0|[1-9](?:_?\\d)*)(?:\\.\\d(?:_?\\d)*(?:[eE][+-]?\\d+)?|[eE][+-]?\\d+))`,
    `([+-]?(?:0|[1-9](?:_?\\d)*))`, `"((?:[^"\\\\\\u0000-\\u0008\\u000a-\\u001f\\u007f]|\\\\.)*)"`,
    `'([^'\\u0000-\\u0008\\u000a-\\u001f\\u007f]*)'`,
  ].join("|"),
  "y",
);
const GAP = /(?:[ \t\n]|#[^\n]*)*/y, REST = /^[ \t]*(?:#.*)?$/;

type Table = { [name: string]: Json };

/** The tables of a text. Throws `RangeError`, with the line, for anything else. */
export function readToml(text: string): Table {
  const root: Table = Object.create(null), lines = text.replace(/^\ufeff/, "").replaceAll("\r\n", "\n").split("\n");
  let table = root;
  const begun = new Set<string>();
  for (let at = 0; at < lines.length; at++) {
    if (REST.test(lines[at])) continue;
    const head = HEAD.exec(lines[at]);
    if (head) {
      const name = names(head[1]).join(".");
      if (begun.has(name)) throw wrong(at, `the table [${name}] is there twice`);
      begun.add(name);
      table = names(head[1]).reduce((above, each) => below(above, each, at), root);
      continue;
    }
    let line = lines[at];
    const first = at;
    while (open(line) && at + 1 < lines.length) line += `\n${lines[++at]}`;
    const pair = PAIR.exec(line);
    if (!pair) throw wrong(first, "it is neither a table nor name = value");
    const path = names(pair[1]), last = path.pop() as string;
    const holder = path.reduce((above, each) => below(above, each, first), table);
    if (last in holder) throw wrong(first, `${last} is there twice`);
    holder[last] = whole(pair[2], first);
  }
  return root;
}

function names(text: string): string[] {
  return (text.match(new RegExp(KEY.source, "g")) ?? []).map((name) => name.replace(/^(["'])(.*)\1$/, "$2"));
}

function below(above: Table, name: string, at: number): Table {
  const found = (above[name] ??= Object.create(null) as Table);
  if (typeof found !== "object" || found === null || Array.isArray(found)) throw wrong(at, `${name} is no table`);
  return found as Table;
}

/** Whether a list has begun that goes on in the next line. */
function open(line: string): boolean {
  const bare = line.replace(/"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*/g, "");
  return /=[ \t]*\[/.test(bare) && !/\][ \t\n]*$/.test(bare);
}

function whole(text: string, at: number): Json {
  const [value, end] = valueAt(text, 0, at);
  if (!REST.test(text.slice(end))) throw wrong(at, "more follows the value");
  return value;
}

function valueAt(text: string, start: number, at: number): [Json, number] {
  if (text[start] === "[") return list(text, start + 1, at);
  VALUE.lastIndex = start;
  const found = VALUE.exec(text);
  if (!found) throw wrong(at, "the value cannot be read");
  const [, truth, float, integer, quoted, literal] = found, end = VALUE.lastIndex;
  if (truth) return [truth === "true", end];
  if (float) return [Number(float.replaceAll("_", "")), end];
  if (integer) return [BigInt(integer.replaceAll("_", "").replace("+", "")), end];
  return [literal ?? unescaped(quoted, at), end];
}

function list(text: string, start: number, at: number): [Json[], number] {
  const values: Json[] = [];
  let here = gap(text, start);
  while (text[here] !== "]") {
    const [value, end] = valueAt(text, here, at);
    values.push(value);
    here = gap(text, end);
    if (text[here] === ",") here = gap(text, here + 1);
    else if (text[here] !== "]") throw wrong(at, "a comma or a bracket is missing");
  }
  return [values, here + 1];
}

function gap(text: string, start: number): number {
  GAP.lastIndex = start;
  GAP.exec(text);
  return GAP.lastIndex;
}

function unescaped(text: string, at: number): string {
  try {
    return JSON.parse(`"${text.replaceAll("\t", "\\t")}"`) as string;
  } catch {
    throw wrong(at, "a text has an escape that cannot be read");
  }
}

function wrong(at: number, why: string): RangeError {
  return new RangeError(`line ${at + 1}: ${why}`);
}
