/** Comma-separated values as Python's `csv.reader(strict=True, skipinitialspace=True)` reads them. */

import { Unfit } from "./unfit.ts";

const NUMBER = /^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$/;
const SPACE = "[\\t-\\r\\x1c-\\x1f \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const ENDS = new RegExp(`^${SPACE}+|${SPACE}+$`, "gu");

/** A text without the white space at its ends, by Python's idea of white space. */
export function strip(text: string): string {
  return text.replace(ENDS, "");
}

/** The number in a cell, as Python's `float` reads it; NaN if it holds none, or none that is finite. */
export function asNumber(cell: string): number {
  const text = strip(cell).replace(/\p{Nd}/gu, digit);
  return NUMBER.test(text) ? Number(text.replaceAll("_", "")) : NaN;
}

/** A decimal digit of any script as one of ASCII's; Unicode has them in tens, from zero to nine. */
function digit(given: string): string {
  const code = given.codePointAt(0) ?? 0;
  let zero = code;
  while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--;
  return String((code - zero) % 10);
}

/** The rows with a value, each after its number, from 1; throws `Unfit` where a quote is not closed, or too early. */
export function* parted(text: string, mark: string): Generator<[number, string[]]> {
  let number = 0;
  for (const row of allRows(text, mark)) {
    number++;
    if (row.some((cell) => strip(cell) !== "")) yield [number, row];
  }
}

function* allRows(text: string, mark: string): Generator<string[]> {
  let at = 0;
  while (at < text.length) {
    const row: string[] = [];
    for (;;) {
      const [cell, end] = cellFrom(text, at, mark);
      row.push(cell);
      at = end + 1;
      if (text[end] !== mark) break;
    }
    if (text[at - 1] === "\r" && text[at] === "\n") at++;
    yield row;
  }
}

/** A cell, and where the mark, the end of its line or of the text is. */
function cellFrom(text: string, from: number, mark: string): [string, number] {
  let at = from;
  while (text[at] === " ") at++;
  if (text[at] !== '"') {
    let end = at;
    while (end < text.length && text[end] !== mark && text[end] !== "\n" && text[end] !== "\r") end++;
    return [text.slice(at, end), end];
  }
  let cell = "";
  for (at++; ; at++) {
    if (at >= text.length) throw new Unfit({ kind: "quotes" });
    if (text[at] !== '"') cell += text[at];
    else if (text[at + 1] === '"') cell += text[at++];
    else break;
  }
  at++;
  if (at < text.length && text[at] !== mark && text[at] !== "\n" && text[at] !== "\r") {
    throw new Unfit({ kind: "quotes" });
  }
  return [cell, at];
}
