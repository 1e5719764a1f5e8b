/** What a trainer declares that it supports, checked against what a strategy needs (`hedgerow.client.capabilities`). */

import type { Strategy } from "../strategies/strategy.ts";
import type { Trainer } from "./trainer.ts";

/** Refuse a trainer that lacks what the strategy needs, or keeps state that it must not. Throws `RangeError`. */
export function require(trainer: Trainer, strategy: Strategy): void {
  const { supports, name } = trainer;
  if (supports.has("state") && (strategy.private || strategy.local.sampleNoise)) {
    throw new RangeError(
      `${name} keeps state of its clients from round to round, which shows in rounds that the account of`
        + ` ${strategy.name} counts as without them; train with one that does not declare 'state', or take a strategy`
        + " that is not private",
    );
  }
  const missing = [...strategy.needs].filter((each) => !supports.has(each)).sort();
  if (missing.length) {
    const listed = [...supports].sort().join(", ") || "nothing beyond plain SGD";
    throw new RangeError(
      `${strategy.name} needs a trainer that supports ${missing.join(", ")}, and ${name} supports ${listed}`,
    );
  }
  if (strategy.local.sampleNoise) { // a phone keeps no account of samples
    throw new RangeError(`${strategy.name} adds noise for each sample, which ${name} on a phone does not`);
  }
}
