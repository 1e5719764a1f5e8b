/** Shamir's secret sharing (Shamir 1979) of 32-byte secrets. */

import type { Bytes } from "../types.ts";
import type { Random } from "./primitives.ts";

/** The smallest prime above all 32-byte numbers. */
export const PRIME = 2n ** 256n + 297n;

const SHARE_BYTES = 33;

/** The polynomial at `x`. */
export function evaluate(coefficients: readonly bigint[], x: number, prime = PRIME): bigint {
  return coefficients.reduceRight((value, coefficient) => (value * BigInt(x) + coefficient) % prime, 0n);
}

/** A share for each place (distinct whole numbers above 0); any `threshold` of them recover the secret. */
export function split(secret: Bytes, places: readonly number[], threshold: number, random: Random): Bytes[] {
  const fine = places.every((place) => Number.isInteger(place) && place > 0);
  if (!fine || new Set(places).size !== places.length || threshold < 1 || threshold > places.length) {
    throw new RangeError(
      `the places are ${places} and the threshold is ${threshold}; places must be different whole numbers above 0,`
        + " at least as many as the threshold, which is at least 1",
    );
  }
  // 64 bytes modulo the prime are uniform to 2**-255.
  const coefficients = [numberOf(secret)];
  while (coefficients.length < threshold) coefficients.push(numberOf(random(64)) % PRIME);
  return places.map((place) => bytesOf(evaluate(coefficients, place)));
}

/** A whole number from its bytes, the largest first. */
export function numberOf(data: Bytes): bigint {
  return data.reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);
}

function bytesOf(value: bigint): Bytes {
  const data = new Uint8Array(SHARE_BYTES);
  for (let i = SHARE_BYTES - 1; i >= 0; i--, value >>= 8n) data[i] = Number(value & 255n);
  return data;
}
