/** Events: facts about what was released, from which epsilon is computed (`hedgerow.privacy.events`). */

import * as checks from "../checks.ts";

/** A sum with Gaussian noise: its standard deviation over the largest change that one client can make. */
export interface Gaussian {
  readonly kind: "gaussian";
  readonly noise_multiplier: number;
}

/** A sum of whole numbers with Skellam noise, and the largest changes in two norms. */
export interface Skellam {
  readonly kind: "skellam";
  readonly variance: number;
  readonly l2: number;
  readonly l1: number;
}

export type Event = Gaussian | Skellam;

export function gaussian(multiplier: number): Gaussian {
  return { kind: "gaussian", noise_multiplier: checks.positive("noise_multiplier", multiplier) };
}

export function skellamEvent(variance: number, l2: number, l1: number): Skellam {
  return {
    kind: "skellam", variance: checks.whole("variance", variance, 1), l2: checks.positive("l2", l2),
    l1: checks.positive("l1", l1),
  };
}

/** An event that was kept. Throws `RangeError` if it is none that a phone can have written. */
export function eventOf(found: unknown): Event {
  const { kind, noise_multiplier, variance, l2, l1 } = (found ?? {}) as Record<string, number | string>;
  if (kind === "gaussian") return gaussian(noise_multiplier as number);
  checks.oneOf("kind", kind, ["gaussian", "skellam"]);
  return skellamEvent(variance as number, l2 as number, l1 as number);
}
