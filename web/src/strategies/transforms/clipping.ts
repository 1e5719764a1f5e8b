/** Clipping: bound one client's contribution. */

import * as checks from "../../checks.ts";
import { float } from "../../wording.ts";
import { clipped } from "../norms.ts";
import { floats, requireFinite } from "../pipeline/payload_checks.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";

const SMALLEST_NORM = 1e-5, LARGEST_NORM = 1e4;

/** Scale the whole vector down to an l2 norm of at most `norm` (McMahan et al. 2018, arXiv:1710.06963). */
export function clip(norm: unknown): Transform {
  const bound = checks.positive("norm", norm), name = `clip(${float(bound)})`;
  return transform({
    name,
    kinds: ["clip"],
    summable: true,
    protection: { maxInt: (before) => before, serverClip: { norm: bound, share: 0 } },
    encode(payload) {
      const values = floats(payload);
      requireFinite(name, values);
      return [payload.replace(clipped(values, bound)), NO_STATE];
    },
  });
}

/** A norm that follows the clients' norms; the server clips, because it alone knows it (arXiv:1905.03871). */
export function adaptiveClip(
  initial: unknown = 0.1, quantile: unknown = 0.5, rate: unknown = 0.2, share: unknown = 0.01,
): Transform {
  const first = checks.positive("initial", initial);
  if (first < SMALLEST_NORM || first > LARGEST_NORM) {
    throw new RangeError(`initial is ${first}; it must be from ${SMALLEST_NORM} to ${LARGEST_NORM}`);
  }
  const given = [
    first, checks.inside("quantile", quantile), checks.positive("learning_rate", rate), checks.inside("share", share),
  ];
  const name = `adaptive_clip(${given.map(float).join(", ")})`;
  return transform({
    name,
    kinds: ["clip"],
    summable: true,
    protection: { maxInt: (before) => before, serverClip: { norm: first, share: given[3] } },
    encode(payload) {
      requireFinite(name, floats(payload));
      return [payload, NO_STATE];
    },
  });
}
