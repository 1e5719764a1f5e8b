/** Weighting: how much a client's update counts. */

import * as checks from "../../checks.ts";
import { Payload } from "../../types.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";

const MOST_EXAMPLES = 2 ** 40, USUAL = 1_000_000;

/** Weight a client by its number of samples, at most `max_weight` (McMahan et al. 2017, arXiv:1602.05629). */
export function weightByExamples(maxWeight: unknown = USUAL): Transform {
  const largest = checks.whole("max_weight", maxWeight, 1, MOST_EXAMPLES);
  return transform({
    name: largest === USUAL ? "weight_by_examples()" : `weight_by_examples(${largest})`,
    kinds: ["weight"],
    summable: true,
    maxWeight: largest,
    encode(payload, _, { numExamples, client }) {
      if (numExamples < 1) throw new RangeError(`client '${client}' trained on no samples; at least 1 is needed`);
      return [new Payload(payload.arrays, Math.min(numExamples, largest)), NO_STATE];
    },
  });
}
