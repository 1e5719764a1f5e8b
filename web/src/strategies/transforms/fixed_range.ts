/** Quantisation to integers on a scale that all clients share. */

import * as checks from "../../checks.ts";
import type { Integers } from "../../types.ts";
import { float } from "../../wording.ts";
import { floats, requireFinite, take } from "../pipeline/payload_checks.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";
import { drawn, nearest, stochastically } from "./rounding.ts";

/** `quantize` with one range for all clients: the values become integers that can be summed. */
export function quantizeWithin(range: unknown, bits: number, rounding: "stochastic" | "nearest"): Transform {
  const largest = checks.positive("range", range), top = 2 ** (checks.whole("bits", bits, 2) - 1) - 1;
  const stochastic = rounding === "stochastic";
  const name = `quantize(${bits}${stochastic ? "" : ", rounding='nearest'"}, range=${float(largest)})`;
  return transform({
    name,
    kinds: ["quantize"],
    summable: true,
    contractive: !stochastic,
    protection: { maxInt: () => top },
    encode(payload, _, context) {
      const x = floats(payload);
      requireFinite(name, x);
      const bound = Math.fround(largest), factor = Math.fround(top / largest);
      const draw = stochastic ? drawn(context) : undefined;
      const levels = Int32Array.from(x, (value) => {
        // Clip first, then multiply: the product could overflow.
        const y = Math.fround(Math.min(bound, Math.max(-bound, value)) * factor);
        const level = draw ? stochastically(y, draw) : nearest(y);
        return Math.min(top, Math.max(-top, level)); // the factor is rounded
      });
      return [payload.replace(levels), NO_STATE];
    },
    decode(payload) {
      const kinds = [Int32Array, Int16Array, Int8Array, Float64Array];
      const values = take<Integers | Float64Array<ArrayBuffer>>(payload, "values", ...kinds);
      const unit = largest / top, decoded = new Float32Array(values.length);
      values.forEach((value, i) => (decoded[i] = value * unit));
      return payload.replace(decoded);
    },
  });
}
