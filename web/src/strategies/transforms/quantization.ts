/** Quantisation: fewer bits per value. */

import * as checks from "../../checks.ts";
import { packedBytes, pack, unpack } from "../../ring/packing.ts";
import type { Generator } from "../../rng.ts";
import { type Bytes, type Layout, PayloadError, sizeOf, type Vector } from "../../types.ts";
import { floats, requireFinite, take } from "../pipeline/payload_checks.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";
import { quantizeWithin } from "./fixed_range.ts";
import { drawn, nearest, stochastically } from "./rounding.ts";

const MOST_BITS = 16;

/**
 * Round each value to one of a few levels of its block's scale (Alistarh et al. 2017, arXiv:1610.02132, with the
 * maximum), and send `bits` bits per value; with a `range`, send integers that can be summed.
 */
export function quantize(
  givenBits: unknown = 8, givenRounding: unknown = "stochastic", givenBlock: unknown = "tensor",
  range: unknown = null,
): Transform {
  const bits = checks.whole("bits", givenBits, 1, MOST_BITS);
  const rounding = checks.oneOf("rounding", givenRounding, ["stochastic", "nearest"] as const);
  const block = givenBlock === "tensor" ? givenBlock : checks.whole("block", givenBlock, 1);
  if (range !== null) {
    if (block !== "tensor") throw new RangeError(`block is ${block}; a range applies to all values: leave out block`);
    return quantizeWithin(range, bits, rounding);
  }
  const stochastic = rounding === "stochastic", byMean = bits === 1 && !stochastic;
  const how = stochastic ? "" : ", rounding='nearest'", shared = block === "tensor" ? "" : `, block=${block}`;
  const name = `quantize(${bits}${how}${shared})`;
  return transform({
    name,
    kinds: ["quantize"],
    contractive: !stochastic || bits > 2,
    protection: { maxInt: () => 0 },
    encode(payload, _, context) {
      const x = floats(payload);
      requireFinite(name, x);
      const blocks = blocksOf(block, x.length, context.layout);
      const scales = Float32Array.from(blocks, ([start, end]) => (byMean ? meanOf : mostOf)(x.subarray(start, end)));
      const draw = stochastic ? drawn(context) : undefined;
      const codes = bits <= 8 ? new Uint8Array(x.length) : new Uint16Array(x.length);
      blocks.forEach(([start, end], i) => {
        for (let at = start; at < end; at++) codes[at] = codeOf(x[at], scales[i] || 1, bits, draw);
      });
      return [payload.replace(pack(codes, bits), [["scales", scales]]), NO_STATE];
    },
    decode(payload, n, { layout }) {
      const scales = take<Vector>(payload, "scales", Float32Array), blocks = blocksOf(block, n, layout);
      if (scales.length !== blocks.length) {
        throw new PayloadError(`${name}: there are ${scales.length} scales; ${n} values have ${blocks.length}`);
      }
      if (!scales.every((scale) => scale >= 0 && scale < Infinity)) {
        throw new PayloadError(`${name}: a scale is negative or not finite; it must be 0 or above`);
      }
      const packed = take<Bytes>(payload, "values", Uint8Array);
      if (packed.length !== packedBytes(n, bits)) throw new PayloadError(`${name}: there are ${packed.length} bytes`);
      const codes = unpack(packed, bits, n), values = new Float32Array(n);
      blocks.forEach(([start, end], i) => {
        for (let at = start; at < end; at++) values[at] = valueOf(codes[at], scales[i], bits);
      });
      return payload.without("scales", values);
    },
  });
}

/** Start and end of each run of values that share a scale. */
function blocksOf(block: "tensor" | number, n: number, layout: Layout): [number, number][] {
  const sizes: number[] = [];
  if (block !== "tensor") for (let left = n; left > 0; left -= block) sizes.push(Math.min(block, left));
  else sizes.push(...(n === layout.dimension ? layout.parameters.map((tensor) => sizeOf(tensor)) : [n]));
  let end = 0;
  return sizes.filter((size) => size).map((size) => [end, (end += size)]);
}

function codeOf(value: number, scale: number, bits: number, draw: Generator | undefined): number {
  if (bits === 1 && !draw) return Number(value >= 0);
  const top = 2 ** (bits - 1) - 1;
  // Divide first, then multiply: a factor for both would overflow if the scale is denormal.
  let y = Math.fround(value / scale);
  y = bits === 1 ? Math.fround(y + 1) / 2 : Math.fround(y * top);
  return (draw ? stochastically(y, draw) : nearest(y)) + top;
}

function valueOf(code: number, scale: number, bits: number): number {
  if (bits === 1) return (2 * code - 1) * scale;
  const top = 2 ** (bits - 1) - 1;
  if (code > 2 * top) throw new PayloadError(`a code of ${bits} bits is ${code}; it must be 0 to ${2 * top}`);
  return Math.fround((code - top) / top) * scale;
}

function mostOf(values: Vector): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function meanOf(values: Vector): number {
  const sizes = Float64Array.from(values, Math.abs);
  return (sizes[0] + summed(sizes.subarray(1))) / sizes.length;
}

/** A sum in numpy's order: of halves, and of eight running sums for up to 128 numbers. */
function summed(values: Float64Array): number {
  const n = values.length;
  if (n > 128) {
    const half = Math.floor(n / 2), first = half - (half % 8);
    return summed(values.subarray(0, first)) + summed(values.subarray(first));
  }
  if (n < 8) return values.reduce((total, value) => total + value, 0);
  const runs = values.slice(0, 8), whole = n - (n % 8);
  for (let i = 8; i < whole; i++) runs[i % 8] += values[i];
  const [a, b, c, d, e, f, g, h] = runs;
  return values.subarray(whole).reduce((total, value) => total + value, a + b + (c + d) + (e + f + (g + h)));
}
