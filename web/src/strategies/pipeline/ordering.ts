/** Which step may follow which: an impossible order is refused, with the reason and a remedy. */

import type { Kind, Transform } from "./transform.ts";

/** First, then; why `then` cannot follow `first`, and what to do instead. */
const REFUSED: readonly (readonly [Kind, Kind, string, string])[] = [
  ["quantize", "normalize", "packed codes cannot be divided", "put it first"],
  ["noise", "normalize", "the noise would be divided too", "put it first"],
  ["discrete noise", "normalize", "its noise is in whole steps", "put it first"],
  ["mask", "normalize", "masked values cannot be divided", "put it first"],
  ["quantize", "quantize", "the values are quantised already", "keep one of the two"],
  ["sparsify", "sparsify", "the indices of the first would be lost", "keep one of the two"],
  ["quantize", "sparsify", "packed codes have no order", "put the sparsifier first"],
  ["quantize", "clip", "packed codes have no norm", "put the clip before it"],
  ["quantize", "noise", "packed codes take no real-valued noise", "put the noise before it"],
  ["noise", "clip", "the noise would be calibrated to no bound", "put the clip first"],
  ["noise", "noise", "the ledger counts one noise per round", "keep one of the two"],
  ["noise", "discrete noise", "the ledger counts one noise per round", "keep one of the two"],
  ["noise", "feedback", "a residual affects rounds in which its client does not take part", "leave out error_feedback"],
  ["discrete noise", "noise", "the ledger counts one noise per round", "keep one of the two"],
  ["discrete noise", "discrete noise", "the ledger counts one noise per round", "keep one of the two"],
  ["discrete noise", "clip", "the noise would be calibrated to no bound", "put the clip first"],
  ["discrete noise", "quantize", "its noise is in whole steps already", "put the quantizer first"],
  ["discrete noise", "sparsify", "noise would go to values not sent", "put the sparsifier first"],
  ["discrete noise", "feedback", "the residual breaks every bound", "leave out error_feedback"],
  ["quantize", "feedback", "packed codes have no residual", "put it inside error_feedback"],
  ["sparsify", "clip", "the bound would hold for the sent values only", "put the clip first"],
  ["sparsify", "noise", "noise on the sent values alone protects nothing", "put clip and noise first"],
  ["sparsify", "feedback", "its residual would miss what was dropped", "put it inside error_feedback"],
  ["feedback", "feedback", "the second residual would always be zero", "keep one of the two"],
  ["feedback", "clip", "what is clipped would be missing from the residual", "put the clip first"],
  ["feedback", "noise", "the residual breaks every bound", "put clip and noise first"],
  ["feedback", "discrete noise", "the residual breaks every bound", "leave out error_feedback"],
  ["mask", "quantize", "masked values are uniform in the ring and cannot be rounded", "quantize first"],
  ["mask", "sparsify", "masks would no longer cancel", "put random_k before the mask"],
  ["mask", "clip", "masked values have no norm", "put the clip first"],
  ["mask", "noise", "masked values take no noise", "put discrete noise before the mask"],
  ["mask", "discrete noise", "masked values take no noise", "put discrete noise before the mask"],
  ["mask", "mask", "one mask is enough", "keep one of the two"],
  ["mask", "feedback", "masked values cannot be added to a residual", "put error_feedback first"],
];

/** Throw a `RangeError`, with the reason and a remedy, if the steps cannot follow each other. */
export function refuseImpossible(steps: readonly Transform[]): void {
  steps.forEach((then, place) => steps.slice(0, place).forEach((first) => refusePair(first, then)));
  const kinds = new Set(steps.flatMap((step) => step.kinds));
  const isPrivate = kinds.has("noise") || kinds.has("discrete noise");
  if (isPrivate && kinds.has("clip") && kinds.has("weight")) {
    throw new RangeError(
      "weighting and clip cannot go together under differential privacy: a client's weight would scale its"
        + " clipped update past the bound; remove the weighting, so that all clients count the same",
    );
  }
  const mask = steps.findLastIndex((step) => step.kinds.includes("mask"));
  for (const step of steps.slice(0, Math.max(mask, 0))) if (!step.summable) throw beforeMask(step);
}

function refusePair(first: Transform, then: Transform): void {
  for (const [a, b, reason, remedy] of REFUSED) {
    if (first.kinds.includes(a) && then.kinds.includes(b)) {
      throw new RangeError(`${then.name} cannot follow ${first.name}: ${reason}; ${remedy}`);
    }
  }
}

function beforeMask(step: Transform): RangeError {
  let remedy = "use steps that are summable";
  if (step.kinds.includes("sparsify")) remedy = "use random_k, for which all clients draw the same positions";
  else if (step.kinds.includes("quantize")) {
    remedy = "use one with a range that all clients share, such as quantize(8, range=0.1)";
  }
  return new RangeError(
    `${step.name} cannot come before a mask: clients would encode differently, and masks only cancel in a sum`
      + ` that can be decoded as a whole; ${remedy}`,
  );
}
