/** Build a part from a text that calls it by name, such as `chain(top_k(0.01), quantize(8))`; nothing is evaluated. */

import { type Number_, represented } from "../../wording.ts";

export type Argument<Part> = Part | Number_ | string | boolean | null;
export type Make<Part> = (given: readonly Argument<Part>[], named: ReadonlyMap<string, Argument<Part>>) => Part;

/** Parts of one kind, by name. */
export interface Registry<Part> {
  /** Such as `transform`. */
  readonly kind: string;
  readonly parts: Readonly<Record<string, Make<Part>>>;
}

const NUMBER = /(-?\d+(?![\d.eE]))|(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/, TEXT = /'([^'\\]*)'|"([^"\\]*)"/;
const TOKEN = new RegExp(`\\s*(?:([A-Za-z_]\\w*)|${NUMBER.source}|${TEXT.source}|([(),=]))`, "y");
const CONSTANTS = new Map<string, boolean | null>([["True", true], ["False", false], ["None", null]]);
const DEEPEST = 20, LONGEST = 10_000;

/**
 * Build the part that a text describes. Throws `RangeError` if the text is something else, a name or an argument is
 * unknown, or the parts do not fit together.
 */
export function parseCall<Part extends object>(
  text: string, registry: Registry<Part>, what: string, example: string,
): Part {
  if (text.length > LONGEST) {
    throw new RangeError(`the ${what} has ${text.length} characters; at most ${LONGEST} are allowed`);
  }
  const parser = new Parser(text, registry, what), found = parser.argument(0);
  parser.end();
  if (typeof found !== "object" || found === null) {
    throw new RangeError(`the ${what} is ${represented(text)}; it must be a call such as ${example}`);
  }
  return found;
}

/** What joins parts, and takes nothing else. */
export function joining<Part extends object>(join: (...steps: readonly Part[]) => Part): Make<Part> {
  return (given, named) => {
    if (named.size || !given.every((each): each is Part => typeof each === "object" && each !== null)) {
      throw new RangeError("chain and error_feedback take steps, and nothing else");
    }
    return join(...given);
  };
}

/** What takes these arguments, in order or by name. */
export function calling<Part>(names: readonly string[], make: (...values: unknown[]) => Part): Make<Part> {
  return (given, named) => {
    const unknown = [...named.keys()].find((name) => !names.includes(name) || names.indexOf(name) < given.length);
    if (unknown !== undefined || given.length > names.length) {
      throw new RangeError(`the arguments must be ${names.join(", ") || "none"}, each at most once`);
    }
    return make(...names.map((name, i) => (i < given.length ? given[i] : named.get(name))));
  };
}

type Token = { name: string } | { value: Number_ | string } | { mark: string } | undefined;

class Parser<Part extends object> {
  #text: string;
  #registry: Registry<Part>;
  #what: string;
  #at = 0;

  constructor(text: string, registry: Registry<Part>, what: string) {
    this.#text = text;
    this.#registry = registry;
    this.#what = what;
  }

  argument(depth: number): Argument<Part> {
    if (depth > DEEPEST) throw this.#mistake(`it is nested more than ${DEEPEST} deep`);
    const token = this.#take(), { parts, kind } = this.#registry;
    if (token && "value" in token) return token.value;
    if (!token || !("name" in token)) throw this.#mistake("a number, a text or a step is missing");
    if (!this.#is("(")) {
      const value = CONSTANTS.get(token.name);
      if (value === undefined) throw this.#mistake(`${token.name} must be a call, such as ${token.name}(...)`);
      return value;
    }
    if (!Object.hasOwn(parts, token.name)) {
      const listed = Object.keys(parts).map(represented).join(", ");
      throw this.#mistake(`there is no ${kind} '${token.name}'; there is ${listed}.`);
    }
    const given: Argument<Part>[] = [], named = new Map<string, Argument<Part>>();
    while (!this.#is(")")) {
      const start = this.#at, name = this.#take();
      if (name && "name" in name && this.#is("=")) {
        if (named.has(name.name)) throw this.#mistake(`${name.name} is given twice`);
        named.set(name.name, this.argument(depth + 1));
      } else {
        this.#at = start;
        if (named.size) throw this.#mistake("an argument without a name comes after one with a name");
        given.push(this.argument(depth + 1));
      }
      if (!this.#is(",") && !this.#peek(")")) throw this.#mistake("a comma or a bracket is missing");
    }
    return parts[token.name](given, named);
  }

  end(): void {
    if (this.#text.slice(this.#at).trim()) throw this.#mistake(`more follows the ${this.#what}`);
  }

  #take(): Token {
    TOKEN.lastIndex = this.#at;
    const found = TOKEN.exec(this.#text);
    if (!found) return undefined;
    this.#at = TOKEN.lastIndex;
    const [, name, whole, number, single, double, mark] = found;
    if (name !== undefined) return { name };
    if (mark !== undefined) return { mark };
    if (whole !== undefined) return { value: BigInt(whole) };
    return { value: number === undefined ? (single ?? double) : Number(number) };
  }

  /** Whether a mark comes next, which is then taken. */
  #is(mark: string): boolean {
    const start = this.#at, token = this.#take();
    if (token && "mark" in token && token.mark === mark) return true;
    this.#at = start;
    return false;
  }

  #peek(mark: string): boolean {
    const start = this.#at, found = this.#is(mark);
    this.#at = start;
    return found;
  }

  #mistake(what: string): RangeError {
    return new RangeError(`the ${this.#what} '${this.#text}' cannot be read (character ${this.#at + 1}): ${what}`);
  }
}
