/** What is summed under a mask: values, weight, metrics and streams, as elements of two rings. */

import { sha256 } from "@noble/hashes/sha2.js";
import * as checks from "../../checks.ts";
import { ringWithin } from "../../ring/arithmetic.ts";
import { SecureAggregation, USUAL } from "../../ring/secagg.ts";
import { MOST_CLIENTS, RING_FRACTION_BITS, type RingVector, type Shape } from "../../ring/vector.ts";
import { bytesOf, PayloadError } from "../../types.ts";
import type { Bytes, Fit, Integers, Layout, Model, Payload } from "../../types.ts";
import { float, represented } from "../../wording.ts";
import { take } from "../pipeline/payload_checks.ts";
import { type Transform, transform } from "../pipeline/transform.ts";
import { nearest } from "./rounding.ts";

/** Metrics are clipped to this absolute value, and count for no more samples than the second. */
export const METRIC_RANGE = 1024;
const MOST_EXAMPLES = 2 ** 20;

const WORD_RANGE = 2 ** 62;

/** Let the server see only the sum of all clients; it comes last, after a quantiser with a range. */
export function mask(
  corrupt: unknown = USUAL.corrupt, dropout: unknown = USUAL.dropout, minClients: unknown = USUAL.minClients,
  failureBits: unknown = USUAL.failureBits, metrics: unknown = USUAL.metrics.join(" "),
  measured: unknown = USUAL.measured.join(" "),
): Transform {
  const given = {
    corrupt: checks.probability("corrupt", corrupt), dropout: checks.probability("dropout", dropout),
    minClients: checks.whole("min_clients", minClients, 3),
    failureBits: checks.whole("failure_bits", failureBits, 20, 128),
    metrics: words("metrics", metrics), measured: words("measured", measured),
  };
  const shown = [
    ["corrupt", float(given.corrupt), float(USUAL.corrupt)], ["dropout", float(given.dropout), float(USUAL.dropout)],
    ["min_clients", String(given.minClients), String(USUAL.minClients)],
    ["failure_bits", String(given.failureBits), String(USUAL.failureBits)],
    ["metrics", represented(given.metrics.join(" ")), represented(USUAL.metrics.join(" "))],
    ["measured", represented(given.measured.join(" ")), represented(USUAL.measured.join(" "))],
  ].filter(([, value, usual]) => value !== usual);
  return transform({
    name: `mask(${shown.map(([name, value]) => `${name}=${value}`).join(", ")})`,
    kinds: ["mask"],
    summable: true,
    protection: { maxInt: (before) => before, secure: new SecureAggregation(given) },
    decode(payload, _, { client }) {
      if (client) throw new PayloadError("it is masked; only the sum of a cohort can be decoded");
      return payload;
    },
  });
}

/**
 * The shape of a cohort's vectors; `beside` is the number of values of the strategy's own streams. Throws `RangeError`
 * if the sum would not fit into 32 bits, or the cohort is too large.
 */
export function shapeOf(pipeline: Transform, layout: Layout, clients: number, beside = 0): Shape {
  checks.whole("clients", clients, 1, MOST_CLIENTS);
  const { maxSum, maxInt, secure } = pipeline.protection, length = pipeline.length(layout.dimension);
  const most = maxSum ? maxSum(0, clients, length) : clients * maxInt(0);
  const size = checks.whole("the largest sum", pipeline.maxWeight * most, 1);
  const ring = ringWithin(size, `${clients} clients in ${pipeline.name}`);
  return { ring, length, metrics: secure?.assumptions.metrics ?? [], streams: layout.bufferSize + beside, clients };
}

/**
 * An encoded payload, its weight, metrics, buffers and streams, as elements of the rings. Throws `RangeError` if a
 * number could make the sum overflow, or the weight is not whole.
 */
export function toRing(
  payload: Payload, fit: Fit, shape: Shape, pipeline: Transform, beside: Float32Array = new Float32Array(0),
): RingVector {
  if (fit.buffers.length && pipeline.protection.noise) {
    const { length } = fit.buffers;
    throw new RangeError(`the model has ${length} values that are not trained, whose sum would get no noise`);
  }
  const numbers = take<Integers>(payload, "values", Int32Array, Int16Array, Int8Array);
  const weight = checks.whole("the weight", payload.weight, 1, pipeline.maxWeight);
  const largest = pipeline.protection.maxInt(0);
  if (numbers.some((number: number) => Math.abs(number) > largest)) {
    throw new RangeError(`a value exceeds ${largest}; ${pipeline.name} must keep values within it`);
  }
  const values = shape.ring.put(numbers);
  for (let i = 0; weight !== 1 && i < values.length; i++) values[i] = Math.imul(values[i], weight % 2 ** 32);
  const words = [BigInt(weight)];
  for (const name of shape.metrics) words.push(...metricWords(fit.metrics.get(name), fit.numExamples));
  const limit = WORD_RANGE / shape.clients, unit = weight * 2 ** RING_FRACTION_BITS;
  for (const value of [...fit.buffers, ...beside]) {
    const whole = nearest(value * unit);
    if (!(Math.abs(whole) <= limit)) {
      throw new RangeError(
        `a buffer, or a value of a stream, exceeds ${limit / unit} in absolute value, or is not finite; it cannot be`
          + " summed under a mask",
      );
    }
    words.push(BigInt(whole));
  }
  return { values: shape.ring.reduced(values), words: BigUint64Array.from(words) };
}

/** A metric as its number of examples and its sum over them, in multiples of 2**-20; both 0 without one. */
export function metricWords(value: number | undefined, examples: number): [bigint, bigint] {
  if (value === undefined || Number.isNaN(value)) return [0n, 0n];
  const counted = Math.min(examples, MOST_EXAMPLES), cut = Math.max(-METRIC_RANGE, Math.min(METRIC_RANGE, value));
  return [BigInt(counted), BigInt(nearest(counted * cut * 2 ** RING_FRACTION_BITS))];
}

/** SHA-256 of everything that training depends on, which the clients' signatures cover (arXiv:2111.07380). */
export function modelHash(model: Model, layout: Layout, seed: bigint, round: number): Bytes {
  const told = `${layout.fingerprint} ${seed} ${round} ${model.parameters.length} `;
  const found = sha256.create().update(new TextEncoder().encode(told));
  for (const values of [model.parameters, model.buffers, model.constants]) found.update(bytesOf(values));
  return found.digest() as Bytes;
}

function words(name: string, value: unknown): string[] {
  return checks.text(name, value).split(/\s+/).filter((word) => word);
}
