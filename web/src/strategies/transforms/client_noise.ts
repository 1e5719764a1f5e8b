/** Noise that clients add themselves, so that even the server sees no sum with less noise. */

import * as checks from "../../checks.ts";
import { discreteGaussian } from "../../privacy/discrete_gaussian.ts";
import { type Gaussian, gaussian, type Skellam, skellamEvent } from "../../privacy/events.ts";
import { LARGEST_VARIANCE, skellam, tail } from "../../privacy/skellam.ts";
import { generator, type RandomSource, seededSource, systemSource } from "../../rng.ts";
import type { Integers } from "../../types.ts";
import { float } from "../../wording.ts";
import { l2Norm, squareSum } from "../norms.ts";
import { floats, requireFinite, take } from "../pipeline/payload_checks.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";

const SMALLEST_SIGMA = 4;
const PURPOSE = "lattice"; // the step's former name: another one would change the random draws
const NATS = 72; // exp(-72) is 5e-32, which a Gaussian reaches at 12 standard deviations

/**
 * Round a clipped vector to multiples of `unit`, stochastically and without bias, and bound its norm
 * (Kairouz et al. 2021, arXiv:2102.06387, proposition 22).
 */
export function randomizedRound(givenUnit: unknown, givenNorm: unknown, range: unknown = null): Transform {
  const unit = checks.positive("unit", givenUnit), norm = checks.positive("norm", givenNorm);
  const reach = range === null ? norm : checks.positive("range", range);
  if (!isPowerOfTwo(unit)) throw new RangeError(`unit is ${unit}; it must be a power of two, such as ${2 ** -10}`);
  if (norm / unit >= 2 ** 30) throw new RangeError(`norm / unit is ${norm / unit}; it must be below 2**30`);
  if (reach > norm) throw new RangeError(`range is ${reach}; it must be at most the norm, ${norm}`);
  const name = `randomized_round(${float(unit)}, ${float(norm)}${range === null ? "" : `, range=${float(reach)}`})`;
  return transform({
    name,
    kinds: ["quantize"],
    summable: true,
    protection: { maxInt: () => Math.ceil(reach / unit) + 1 },
    encode(payload, _, { seed, round, client }) {
      const x = floats(payload);
      requireFinite(name, x);
      if (l2Norm(x) > norm * (1 + 1e-6)) {
        throw new RangeError(`${name}: the norm is ${l2Norm(x)}; put clip(${float(norm)}) before it`);
      }
      const draw = generator(seed, PURPOSE, { round, client }), bound = roundedNorm(norm / unit, x.length);
      const scaled = Float64Array.from(x, (value) => Math.min(reach, Math.max(-reach, value)) / unit);
      for (;;) {
        const whole = scaled.map((value) => Math.floor(value + draw.double()));
        if (squareSum(whole) <= bound * bound) return [payload.replace(Int32Array.from(whole)), NO_STATE];
      }
    },
    decode(payload) {
      const kinds = [Int32Array, Int16Array, Int8Array, Float64Array];
      const values = take<Integers | Float64Array<ArrayBuffer>>(payload, "values", ...kinds);
      const decoded = new Float32Array(values.length);
      values.forEach((value, i) => (decoded[i] = value * unit));
      return payload.replace(decoded);
    },
  });
}

/** The largest norm allowed after a vector of `n` values and this norm is stochastically rounded. */
export function roundedNorm(norm: number, n: number): number {
  const likely = norm * norm + n / 4 + norm + Math.sqrt(n) / 2;
  return Math.min(Math.sqrt(likely), norm + Math.sqrt(n));
}

/** Each client adds a discrete Gaussian to its integers; the sum of `min_honest` has the noise that is accounted. */
export function distributedNoise(
  multiplier: unknown, norm: unknown, unit: unknown, minHonest: unknown, bits: unknown = 16,
): Transform {
  const given = arguments_("distributed_noise", [multiplier, norm, unit, minHonest, bits], [16, 32]);
  const sigmaOf = (n: number) => {
    const sigma = Math.ceil((given.multiplier * roundedNorm(given.norm, n)) / Math.sqrt(given.minHonest));
    if (sigma >= SMALLEST_SIGMA) return sigma;
    throw new RangeError(
      `${given.name}: a client's noise is ${sigma} units, and must be ${SMALLEST_SIGMA} or more: choose a smaller`
        + " unit, or skellam_noise",
    );
  };
  return clientNoise(
    given,
    gaussian(given.multiplier),
    (n, source, count) => discreteGaussian(sigmaOf(n), count, source),
    (clients, n) => Math.ceil(Math.sqrt(2 * NATS * clients) * sigmaOf(n)),
  );
}

/** The same with Skellam noise: the sum has exactly the distribution that is accounted (arXiv:2110.04995). */
export function skellamNoise(
  multiplier: unknown, norm: unknown, unit: unknown, minHonest: unknown, bits: unknown = 16,
): Transform {
  const given = arguments_("skellam_noise", [multiplier, norm, unit, minHonest, bits], [8, 16, 32]);
  const varianceOf = (n: number) => {
    const deviation = given.multiplier * roundedNorm(given.norm, n);
    return Math.ceil((deviation * deviation) / given.minHonest);
  };
  return clientNoise(
    given,
    // As if rounding added nothing to the norm, with no more noise than required.
    skellamEvent(Math.max(1, Math.floor((given.multiplier * given.norm) ** 2)), given.norm, given.norm ** 2),
    (n, source, count) => skellam(varianceOf(n), count, source),
    (clients, n) => tail(clients * varianceOf(n), NATS),
  );
}

interface Given {
  readonly name: string;
  readonly multiplier: number;
  /** Of the vector, in units. */
  readonly norm: number;
  readonly minHonest: number;
  readonly bits: number;
}

function arguments_(step: string, given: readonly unknown[], allowed: readonly number[]): Given {
  const multiplier = checks.positive("multiplier", given[0]), norm = checks.positive("norm", given[1]);
  const unit = checks.positive("unit", given[2]), minHonest = checks.whole("min_honest", given[3], 1);
  const bits = checks.oneOf("bits", given[4], allowed);
  const name = `${step}(${float(multiplier)}, ${float(norm)}, ${float(unit)}, ${minHonest}, ${bits})`;
  return { name, multiplier, norm: norm / unit, minHonest, bits };
}

/**
 * The smallest power of two with which the noisy sum of `clients` clients fits into `bits` bits; `range` is that of
 * `randomizedRound`.
 */
export function unitFor(
  norm: number, multiplier: number, minHonest: number, bits: number, clients: number, range: number,
): number {
  const most = 2 ** (bits - 1) - 1, largest = clients * range, part = (1.25 * multiplier) / Math.sqrt(minHonest);
  const fits = (unit: number) => {
    const variance = ((part * norm) / unit) ** 2;
    if (!(variance < LARGEST_VARIANCE)) return false;
    return largest / unit + clients + tail(Math.ceil(clients * variance), NATS) <= most;
  };
  let unit = 2 ** Math.ceil(Math.log2(largest / most));
  while (!fits(unit)) unit *= 2;
  return unit;
}

/** `count` values of a client's noise, for a vector of `n`. */
type Draw = (n: number, source: RandomSource, count: number) => Float64Array;

/** Fewer than one value in 1e30 of the clients' summed noise exceeds this. */
type Reach = (clients: number, n: number) => number;

/** The step that adds noise to the integers of a vector with this norm. */
function clientNoise(
  { name, multiplier, norm, minHonest, bits }: Given, event: Gaussian | Skellam, draw: Draw, reach: Reach,
): Transform {
  const most = 2 ** (bits - 1) - 1, Sent = bits === 8 ? Int8Array : bits === 16 ? Int16Array : Int32Array;
  return transform({
    name,
    kinds: ["discrete noise"],
    summable: true,
    protection: {
      maxInt: () => most,
      // The clients' noise is independent: its sum has a smaller range than `clients` times one's.
      maxSum: (before, clients, n) => clients * before + reach(clients, n),
      noise: { multiplier, bands: 1, minHonest, event },
    },
    encode(payload, _, { seed, round, client, seededNoise }) {
      const whole = take<Integers>(payload, "values", Int32Array, Int16Array, Int8Array), n = whole.length;
      const squared = squareSum(whole), bound = roundedNorm(norm, n);
      if (squared > bound * bound) {
        throw new RangeError(
          `${name}: the whole numbers have a norm of ${Math.sqrt(squared)}, and the noise is measured for ${bound};`
            + " put a randomized_round(...) of the same norm and unit before it",
        );
      }
      if (norm + 1 + reach(1, n) > most) {
        throw new RangeError(
          `${name}: a client's numbers are up to ${norm + 1 + reach(1, n)}, and at most ${most} fit: choose a larger`
            + " unit, or more bits",
        );
      }
      const source = seededNoise ? seededSource(seed, "noise", { round, client }) : systemSource;
      const noised = draw(n, source, n).map((noise, i) => whole[i] + noise);
      for (;;) {
        const wrong = [...noised.keys()].filter((i) => Math.abs(noised[i]) > most);
        if (!wrong.length) return [payload.replace(Sent.from(noised)), NO_STATE];
        draw(n, source, wrong.length).forEach((noise, i) => (noised[wrong[i]] = whole[wrong[i]] + noise));
      }
    },
  });
}

function isPowerOfTwo(value: number): boolean {
  const bits = new BigUint64Array(Float64Array.of(value).buffer)[0];
  return (bits & (2n ** 52n - 1n)) === 0n;
}
