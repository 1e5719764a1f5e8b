/** Values as Python writes them, where a name or a hash is made of that. */

const UNPRINTABLE = /[\p{C}\p{Z}]/u;
const LONGEST = 60; // characters of a value in an error
const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };

/** A float as `repr` writes it: `0.75`, `1.0`, `1e-05`. */
export function float(value: number): string {
  const [digits, exponent] = value.toExponential().split("e");
  const power = Number(exponent);
  if (power < -4 || power >= 16) {
    return `${digits}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}

/** Whether a text has no character that `repr` would escape, other than quotes and backslashes. */
export function printable(text: string): boolean {
  return !/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(text);
}

/** A text as `repr` writes it. */
export function represented(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const characters = [...text].map((character) => {
    if (character === quote) return `\\${quote}`;
    if (character in SHORT) return SHORT[character];
    return character !== " " && UNPRINTABLE.test(character) ? escaped(character.codePointAt(0) ?? 0) : character;
  });
  return quote + characters.join("") + quote;
}

/** A number of Python: a whole one is a `bigint`, so that `1` and `1.0` stay apart. */
export type Number_ = bigint | number;

/** A value of JSON as `repr` writes it. */
export function repr(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? float(value) : unbounded(value);
  if (typeof value === "string") return represented(value);
  if (typeof value === "boolean") return value ? "True" : "False";
  if (value === null || value === undefined) return "None";
  if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
  return `{${Object.entries(value).map(([key, each]) => `${represented(key)}: ${repr(each)}`).join(", ")}}`;
}

/** A value of JSON as a short text of one line for a person (`hedgerow.wording.shown`). */
export function shown(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    const leaves = Object.values(value), simple = leaves.every((each) => typeof each !== "object" || each === null);
    const told = simple && leaves.length <= LONGEST ? repr(value) : "";
    if (told && [...told].length <= LONGEST) return told;
    return Array.isArray(value) ? "a list" : "a dict";
  }
  if (typeof value === "bigint" && String(value).replace("-", "").length > LONGEST) return "a very large number";
  const told = [...repr(value)];
  return told.length > LONGEST ? `${told.slice(0, LONGEST - 4).join("")} ...` : told.join("");
}

/** A float with six digits, as `:g` writes it: `0.2`, `1e-05`, `100`. */
export function general(value: number): string {
  const [digits, exponent] = value.toExponential(5).split("e"), power = Number(exponent);
  if (power < -4 || power >= 6) {
    return `${bare(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  return bare(value.toFixed(5 - power));
}

function unbounded(value: number): string {
  return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

function bare(digits: string): string {
  return digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
}

/** A tuple of whole numbers: `()`, `(2,)`, `(2, 3)`. */
export function tuple(numbers: readonly number[]): string {
  return tupled(numbers.map(String));
}

/** A tuple of what is written already. */
export function tupled(items: readonly string[]): string {
  return `(${items.join(", ")}${items.length === 1 ? "," : ""})`;
}

/** JSON as `json.dumps` writes it: a space after each comma and colon, and nothing but ASCII. */
export function json(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(json).join(", ")}]`;
  if (value instanceof Map) return `{${[...value].map(([key, each]) => `${json(key)}: ${json(each)}`).join(", ")}}`;
  return JSON.stringify(value).replace(/[\u007f-\uffff]/g, (unit) => `\\u${hex(unit.charCodeAt(0), 4)}`);
}

function escaped(code: number): string {
  if (code < 0x100) return `\\x${hex(code, 2)}`;
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}
