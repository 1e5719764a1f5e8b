/** Parse a pipeline, such as `chain(top_k(0.01), quantize(8))`; nothing is evaluated. */

import { adaptiveClip, clip } from "../transforms/clipping.ts";
import { distributedNoise, randomizedRound, skellamNoise } from "../transforms/client_noise.ts";
import { quantize } from "../transforms/quantization.ts";
import { randomK, topK } from "../transforms/sparsification.ts";
import { errorFeedback } from "../transforms/feedback.ts";
import { mask } from "../transforms/mask.ts";
import { bandedNoise, gaussianNoise } from "../transforms/noise.ts";
import { weightByExamples } from "../transforms/weighting.ts";
import { chain } from "./chain.ts";
import type { Transform } from "./transform.ts";

type Argument = Transform | number | string | boolean | null;
type Make = (given: readonly Argument[], named: ReadonlyMap<string, Argument>) => Transform;

/** Steps that a configuration may name, with their arguments in order; `...` takes steps. */
const TRANSFORMS: Readonly<Record<string, Make>> = {
  float32: calling([], () => chain()),
  chain: joining(chain),
  error_feedback: joining(errorFeedback),
  weight_by_examples: calling(["max_weight"], weightByExamples),
  clip: calling(["norm"], clip),
  adaptive_clip: calling(["initial", "quantile", "learning_rate", "share"], adaptiveClip),
  gaussian_noise: calling(["multiplier"], gaussianNoise),
  banded_noise: calling(["multiplier", "bands", "rounds"], bandedNoise),
  randomized_round: calling(["unit", "norm", "range"], randomizedRound),
  distributed_noise: calling(["multiplier", "norm", "unit", "min_honest", "bits"], distributedNoise),
  skellam_noise: calling(["multiplier", "norm", "unit", "min_honest", "bits"], skellamNoise),
  top_k: calling(["fraction"], topK),
  random_k: calling(["fraction", "unbiased"], randomK),
  mask: calling(["corrupt", "dropout", "min_clients", "failure_bits", "metrics", "measured"], mask),
  quantize: calling(["bits", "rounding", "block", "range"], quantize),
};

const TOKEN = /\s*(?:([A-Za-z_]\w*)|(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|'([^'\\]*)'|"([^"\\]*)"|([(),=]))/y;
const CONSTANTS = new Map<string, boolean | null>([["True", true], ["False", false], ["None", null]]);
const DEEPEST = 20, LONGEST = 10_000;

/**
 * Build the pipeline that a text describes. Throws `RangeError` if the text is something else, a name or an
 * argument is unknown, or the steps do not fit together.
 */
export function parsePipeline(text: string): Transform {
  if (text.length > LONGEST) {
    throw new RangeError(`the pipeline has ${text.length} characters; at most ${LONGEST} are allowed`);
  }
  const parser = new Parser(text), found = parser.argument(0);
  parser.end();
  if (!isTransform(found)) throw new RangeError(`the pipeline is '${text}'; it must be a call such as quantize(8)`);
  return found;
}

type Token = { name: string } | { value: number | string } | { mark: string } | undefined;

class Parser {
  #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  argument(depth: number): Argument {
    if (depth > DEEPEST) throw this.#mistake(`it is nested more than ${DEEPEST} deep`);
    const token = this.#take();
    if (token && "value" in token) return token.value;
    if (!token || !("name" in token)) throw this.#mistake("a number, a text or a step is missing");
    if (!this.#is("(")) {
      const value = CONSTANTS.get(token.name);
      if (value === undefined) throw this.#mistake(`${token.name} must be a call, such as ${token.name}(...)`);
      return value;
    }
    if (!Object.hasOwn(TRANSFORMS, token.name)) {
      throw this.#mistake(`there is no transform '${token.name}'; there are ${Object.keys(TRANSFORMS).join(", ")}`);
    }
    const given: Argument[] = [], named = new Map<string, Argument>();
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
    return TRANSFORMS[token.name](given, named);
  }

  end(): void {
    if (this.#text.slice(this.#at).trim()) throw this.#mistake("more follows the pipeline");
  }

  #take(): Token {
    TOKEN.lastIndex = this.#at;
    const found = TOKEN.exec(this.#text);
    if (!found) return undefined;
    this.#at = TOKEN.lastIndex;
    const [, name, number, single, double, mark] = found;
    if (name !== undefined) return { name };
    if (mark !== undefined) return { mark };
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
    return new RangeError(`the pipeline '${this.#text}' cannot be read (character ${this.#at + 1}): ${what}`);
  }
}

function isTransform(value: unknown): value is Transform {
  return typeof value === "object" && value !== null;
}

function joining(join: (...steps: readonly Transform[]) => Transform): Make {
  return (given, named) => {
    if (named.size || !given.every(isTransform)) {
      throw new RangeError("chain and error_feedback take steps, and nothing else");
    }
    return join(...given);
  };
}

function calling(names: readonly string[], make: (...values: unknown[]) => Transform): Make {
  return (given, named) => {
    const unknown = [...named.keys()].find((name) => !names.includes(name) || names.indexOf(name) < given.length);
    if (unknown !== undefined || given.length > names.length) {
      throw new RangeError(`the arguments must be ${names.join(", ") || "none"}, each at most once`);
    }
    return make(...names.map((name, i) => (i < given.length ? given[i] : named.get(name))));
  };
}
