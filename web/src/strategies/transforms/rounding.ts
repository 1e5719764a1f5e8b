/** Rounding to whole numbers, with the bits of numpy. */

import { type Generator, generator } from "../../rng.ts";
import type { RoundContext } from "../../types.ts";

/** The draws of a client's rounding. */
export function drawn({ seed, round, client }: RoundContext): Generator {
  return generator(seed, "quantize", { round, client });
}

/** The nearest whole number, of two the even one. */
export function nearest(value: number): number {
  const shift = value < 0 ? -(2 ** 52) : 2 ** 52; // the sum has no place for a fraction
  return Math.abs(value) < 2 ** 52 ? value + shift - shift : value;
}

/** Rounded down, or up with the probability that makes the expectation exact; float32 throughout. */
export function stochastically(value: number, draw: Generator): number {
  const level = Math.floor(value);
  return level + Number(draw.float() < Math.fround(value - level));
}
