/** Sparsification: fewer values. */

import * as checks from "../../checks.ts";
import { packIndices, unpackIndices } from "../../ring/packing.ts";
import { generator } from "../../rng.ts";
import { type Bytes, PayloadError, type RoundContext, type Vector } from "../../types.ts";
import { float } from "../../wording.ts";
import { floats, requireFinite, take } from "../pipeline/payload_checks.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";

/** Send the values of largest magnitude, and their positions; among equal ones, the first. */
export function topK(given: unknown): Transform {
  const fraction = checks.fraction("fraction", given), name = `top_k(${float(fraction)})`;
  return transform({
    name,
    kinds: ["sparsify"],
    length: (n) => countOf(fraction, n),
    encode(payload) {
      const x = floats(payload);
      requireFinite(name, x);
      const indices = largest(x.map(Math.abs), countOf(fraction, x.length));
      return [payload.replace(chosen(x, indices), [["indices", packIndices(indices, x.length)]]), NO_STATE];
    },
    decode(payload, n) {
      const indices = unpackIndices(take<Bytes>(payload, "indices", Uint8Array), n, countOf(fraction, n));
      return payload.without("indices", scattered(floats(payload), indices, n, name));
    },
  });
}

/** Send the values at random positions, the same for all clients of a round; `unbiased` scales them up. */
export function randomK(given: unknown, unbiased: unknown = true): Transform {
  const fraction = checks.fraction("fraction", given), scaled = checks.flag("unbiased", unbiased);
  const name = `random_k(${float(fraction)}${scaled ? "" : ", unbiased=False"})`;
  return transform({
    name,
    kinds: ["sparsify"],
    length: (n) => countOf(fraction, n),
    summable: true,
    contractive: !scaled || fraction === 1,
    encode(payload, _, context) {
      const x = floats(payload);
      requireFinite(name, x);
      let sent = chosen(x, randomPositions(context, x.length, countOf(fraction, x.length)));
      if (scaled && x.length) {
        const factor = Math.fround(x.length / sent.length);
        sent = sent.map((value) => value * factor);
        requireFinite(name, sent);
      }
      return [payload.replace(sent), NO_STATE];
    },
    decode(payload, n, context) {
      const values = take<Vector | Float64Array<ArrayBuffer>>(payload, "values", Float32Array, Float64Array);
      return payload.replace(scattered(values, randomPositions(context, n, countOf(fraction, n)), n, name));
    },
  });
}

/** How many values are sent of `n`. */
function countOf(fraction: number, n: number): number {
  return Math.min(n, Math.max(1, Math.floor(fraction * n + 0.5)));
}

/** Sorted positions of the `k` largest values; among equal ones, the first. */
function largest(sizes: Vector | Uint32Array<ArrayBuffer>, k: number): Uint32Array<ArrayBuffer> {
  const indices = new Uint32Array(k);
  if (k === 0) return indices;
  const threshold = sizes.slice().sort()[sizes.length - k];
  let equal = k, found = 0;
  for (const size of sizes) if (size > threshold) equal--;
  for (let i = 0; found < k; i++) {
    if (sizes[i] > threshold || (sizes[i] === threshold && equal-- > 0)) indices[found++] = i;
  }
  return indices;
}

function randomPositions({ seed, round }: RoundContext, n: number, k: number): Uint32Array<ArrayBuffer> {
  const raw = generator(seed, "random_k", { round }).raw(Math.ceil(n / 2));
  return largest(new Uint32Array(raw.buffer, 0, n), k);
}

function chosen(values: Vector, indices: Uint32Array): Vector {
  return Float32Array.from(indices, (index) => values[index]);
}

function scattered<A extends Vector | Float64Array<ArrayBuffer>>(
  values: A, indices: Uint32Array, n: number, name: string,
): A {
  if (values.length !== indices.length) {
    throw new PayloadError(`${name}: there are ${values.length} values; of ${n}, ${indices.length} are sent`);
  }
  const dense = new (values.constructor as new (size: number) => A)(n);
  indices.forEach((index, i) => (dense[index] = values[i]));
  return dense;
}
