/** `exp` to any number of binary digits, for comparisons that a double cannot decide. */

const GUARD = 64;

/** `exp(-a / b)` for whole numbers `a >= 0`, `b > 0`, in multiples of `2**-bits`; off by less than 2. */
export function exponential(a: bigint, b: bigint, bits: number): bigint {
  const halvings = (a / b).toString(2).length; // each squaring doubles the error, which the guard takes up
  const place = BigInt(bits + GUARD + 2 * halvings), one = 1n << place;
  const x = (a << place) / (b << BigInt(halvings));
  let sum = one, term = one;
  for (let i = 1n; term; i++) {
    term = (-term * x) / (i << place);
    sum += term;
  }
  for (let i = 0; i < halvings; i++) sum = (sum * sum) >> place;
  return sum >> (place - BigInt(bits));
}
