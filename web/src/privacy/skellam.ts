/** Exact samples of Skellam noise, the same draws as `hedgerow.privacy.skellam`, where the table is explained. */

import * as checks from "../checks.ts";
import type { RandomSource } from "../rng.ts";

/** The table holds every number that can be drawn. */
export const LARGEST_VARIANCE = 2 ** 26;

const BITS = 63n;
const CUT = 240 * Math.LN2;
const GUARD = 2n ** 256n;

/** Draw `n` whole numbers `x` with probability `exp(-v) I_x(v)`, `v` being the variance (arXiv:2110.04995). */
export function skellam(variance: number, n: number, source: RandomSource): Float64Array<ArrayBuffer> {
  checks.whole("variance", variance, 1, LARGEST_VARIANCE);
  const table = tableOf(variance), drawn = source(n);
  const sizes = Array.from(drawn, (word) => countUpTo(table.first, word >> 1n));
  sizes.forEach((size, i) => {
    const uniform = drawn[i] >> 1n;
    // A number equal to the first 63 bits of an entry may lie on either side of it.
    if (uniform === table.first[Math.max(size, 1) - 1]) sizes[i] = decide(uniform, table, source);
  });
  return Float64Array.from(sizes, (size, i) => (drawn[i] & 1n ? -size : size));
}

/** A value that Skellam noise reaches on one side with probability `exp(-nats)` at most, by Chernoff's bound. */
export function tail(variance: number, nats: number): number {
  const bound = (t: number) => t * Math.asinh(t / variance) - t ** 2 / (Math.hypot(t, variance) + variance);
  let low = 0, high = 1;
  while (bound(high) < nats) [low, high] = [high, 2 * high];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (bound(middle) >= nats) high = middle;
    else low = middle;
  }
  return high + 1; // allows for rounding errors of the doubles
}

/** The probability that `|x|` is at most `k`: `entries[k] / whole`, and its first 63 bits. */
interface Table {
  readonly variance: number;
  readonly entries: readonly bigint[];
  readonly whole: bigint;
  readonly first: readonly bigint[];
}

let last: Table | undefined; // one client needs one

function tableOf(variance: number): Table {
  if (last?.variance === variance) return last;
  const sizes: bigint[] = [];
  let above = 0n, here = GUARD;
  for (let k = tail(variance, CUT); k > 0; k--) {
    sizes.push(2n * here);
    [above, here] = [here, above + (2n * BigInt(k) * here) / BigInt(variance)];
  }
  let sum = here;
  const entries = [here];
  for (const size of sizes.reverse()) entries.push((sum += size));
  const whole = entries.pop() ?? 1n, first = entries.map((entry) => (entry << BITS) / whole);
  // Beyond the first entry that is all ones, all entries are.
  const ones = first.indexOf(2n ** BITS - 1n);
  last = { variance, entries, whole, first: ones < 0 ? first : first.slice(0, ones + 1) };
  return last;
}

/** How many entries, which are sorted, are at most `value`. */
function countUpTo(entries: readonly bigint[], value: bigint): number {
  let low = 0, high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The size for a uniform number with these first 63 bits; draws further bits as necessary. */
function decide(uniform: bigint, { entries, whole }: Table, source: RandomSource): number {
  for (let value = uniform, bits = BITS; ; value = (value << 64n) | source(1)[0], bits += 64n) {
    const low = value * whole, high = (value + 1n) * whole;
    const size = entries.filter((entry) => entry << bits <= low).length;
    if (size === entries.length || high <= entries[size] << bits) return size;
  }
}
