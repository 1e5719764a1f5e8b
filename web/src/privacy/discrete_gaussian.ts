/** Exact samples of the discrete Gaussian, drawn as `hedgerow.privacy.discrete_gaussian` draws and explains them. */

import * as checks from "../checks.ts";
import type { RandomSource } from "../rng.ts";
import { exponential } from "./exponential.ts";

/** A position within a block must be exact as a double. */
const LARGEST_SIGMA = 2 ** 52;

const BITS = 63;
const BLOCKS = 40; // exp(-40**2 / 2) is 1e-347: never drawn
const BAND = 2 ** -40; // far larger than the error of a computed probability, yet seldom hit
const EXACT = 1400; // binary digits of where a block ends
const SLACK = 4n;
const AT_ONCE = 65536;

/** Draw `n` whole numbers `x` with probability proportional to `exp(-x^2 / (2 sigma^2))` (arXiv:1303.6257). */
export function discreteGaussian(sigma: number, n: number, source: RandomSource): Float64Array<ArrayBuffer> {
  checks.whole("sigma", sigma, 1, LARGEST_SIGMA);
  const drawn = new Float64Array(n);
  for (let filled = 0; filled < n; ) {
    const kept = candidates(sigma, Math.min(AT_ONCE, Math.floor(1.5 * (n - filled)) + 16), source);
    for (let i = 0; i < kept.length && filled < n; i++) drawn[filled++] = kept[i];
  }
  return drawn;
}

function candidates(sigma: number, n: number, source: RandomSource): number[] {
  const first = source(n), k = Array.from(first, (word) => blockOf(word >> 1n, source));
  const within = uniformBelow(sigma, n, source), kept: number[] = [];
  source(n).forEach((word, i) => {
    const u = within[i], part = u / sigma, negative = (first[i] & 1n) === 1n;
    const distance = Number(word >> 1n) * 2 ** -BITS - Math.exp(-(part * (k[i] + 0.5 * part)));
    const below = Math.abs(distance) < BAND ? isBelow(word >> 1n, k[i], u, sigma, source) : distance < 0;
    if (!below || (negative && k[i] === 0 && u === 0)) return; // zero is one number, not two
    const size = k[i] * sigma + u;
    kept.push(negative ? -size : size);
  });
  return kept;
}

/** `(n,)`, uniform from 0 to `bound - 1`; words that would bias the result are rejected. */
function uniformBelow(bound: number, n: number, source: RandomSource): Float64Array {
  const drawn = source(n), whole = BigInt(bound), allowed = (2n ** 64n / whole) * whole;
  for (;;) {
    const wrong: number[] = [];
    drawn.forEach((word, i) => word >= allowed && wrong.push(i));
    if (!wrong.length) return Float64Array.from(drawn, (word) => Number(word % whole));
    source(wrong.length).forEach((word, i) => (drawn[wrong[i]] = word));
  }
}

let found: { ends: readonly bigint[]; first: readonly bigint[] } | undefined;

/** Where each block ends, as a fraction of 1: in multiples of `2**-EXACT`, and their first 63 bits. */
function thresholds() {
  if (!found) {
    const weights = Array.from({ length: BLOCKS }, (_, k) => exponential(BigInt(k * k), 2n, EXACT + 64));
    const total = weights.reduce((sum, weight) => sum + weight);
    let end = 0n;
    const ends = weights.slice(0, -1).map((weight) => ((end += weight) << BigInt(EXACT)) / total);
    found = { ends, first: ends.map((each) => each >> BigInt(EXACT - BITS)) };
  }
  return found;
}

/** The block that a 63-bit number falls in: block `k` has weight `exp(-k^2 / 2)`. */
function blockOf(uniform: bigint, source: RandomSource): number {
  const { ends, first } = thresholds();
  let block = 0;
  while (block < first.length && first[block] <= uniform) block++;
  if (uniform !== first[Math.max(block, 1) - 1]) return block;
  // It may lie on either side of an end with the same first bits: further bits decide.
  for (let value = uniform, bits = BITS; ; value = (value << 64n) | source(1)[0], bits += 64) {
    const free = BigInt(EXACT - bits), low = value << free, high = (value + 1n) << free;
    if (!ends.some((end) => low < end && end < high)) return ends.filter((end) => end <= low).length;
  }
}

/** Whether a uniform number with these first 63 bits is below the probability of keeping `u` in block `k`. */
function isBelow(uniform: bigint, k: number, u: number, sigma: number, source: RandomSource): boolean {
  const s = BigInt(sigma), within = BigInt(u), a = 2n * BigInt(k) * s * within + within ** 2n, b = 2n * s ** 2n;
  for (let value = uniform, bits = BITS; ; value = (value << 64n) | source(1)[0], bits += 64) {
    const probability = exponential(a, b, bits + 64);
    if ((value + 1n) << 64n <= probability - SLACK) return true;
    if (value << 64n >= probability + SLACK) return false;
  }
}
