/**
 * Epsilon of what a client's own noise protects (`hedgerow.privacy.accounting`): for Gaussian noise alone the exact
 * one, which Python rounds up by less than one in a thousand; with Skellam noise the bound by Renyi divergences.
 *
 * What is sampled at random, or adds noise for each sample, is not counted here: no phone takes part in that.
 */

import type { Event, Skellam } from "./events.ts";

/** A larger bound is returned as it is: nothing is protected. */
const LARGEST = 1e4;
/** Whole orders, for which the Skellam bound is proven. */
const ORDERS = [
  ...Array.from({ length: 126 }, (_, i) => i + 2), ...Array.from({ length: 90 }, (_, k) => Math.round(128 * 1.1 ** k)),
];
const HALVINGS = 200, TERMS = 200;

/** The epsilon of releases and how often each has happened, for the delta, if one client's part counts or is zero. */
export function epsilon(counts: Iterable<readonly [Event, number]>, delta: number): number {
  const all = [...counts].filter(([, count]) => count > 0);
  if (!all.length) return 0;
  const bound = renyi(all, delta);
  if (bound > LARGEST || all.some(([event]) => event.kind === "skellam")) return bound;
  // Squares of means over deviations add up: together it is one release, with a mean of mu and a deviation of 1.
  const mu = Math.sqrt(all.reduce((sum, [event, count]) => sum + 2 * count * divergenceOf(event, 1), 0));
  let low = 0, high = 1;
  if (deltaOf(mu, 0) <= delta) return 0;
  while (deltaOf(mu, high) > delta) [low, high] = [high, 2 * high];
  for (let i = 0; i < HALVINGS && high > low; i++) {
    const middle = (low + high) / 2;
    if (middle === low || middle === high) break;
    if (deltaOf(mu, middle) > delta) low = middle;
    else high = middle;
  }
  return high;
}

/** An upper bound, by Renyi divergences (arXiv:2004.00010, proposition 12). */
function renyi(counts: readonly (readonly [Event, number])[], delta: number): number {
  const found = ORDERS.map((order) => {
    const divergence = counts.reduce((sum, [event, count]) => sum + count * divergenceOf(event, order), 0);
    if (delta ** 2 + Math.expm1(-divergence) > 0) return 0;
    return divergence + Math.log1p(-1 / order) - Math.log(delta * order) / (order - 1);
  });
  return Math.max(0, Math.min(...found.map((each) => (Number.isNaN(each) ? Infinity : each))));
}

function divergenceOf(event: Event, order: number): number {
  return event.kind === "gaussian" ? order / (2 * event.noise_multiplier ** 2) : skellamDivergence(event, order);
}

/** Agarwal, Kairouz and Liu 2021 (arXiv:2110.04995, theorem 3.5 and corollary 3.6). */
function skellamDivergence({ variance, l2, l1 }: Skellam, order: number): number {
  const square = l2 ** 2;
  const beyond = Math.min(((2 * order - 1) * square + 6 * l1) / (4 * variance ** 2), (3 * l1) / (2 * variance));
  return (order * square) / (2 * variance) + beyond;
}

/** The delta of one Gaussian release with this epsilon (Balle and Wang 2018, arXiv:1805.06530, theorem 8). */
function deltaOf(mu: number, eps: number): number {
  const above = logTail(eps / mu - mu / 2), below = eps + logTail(eps / mu + mu / 2);
  return -Math.exp(above) * Math.expm1(below - above);
}

/** The logarithm of the chance that a standard normal variate exceeds a value. */
export function logTail(x: number): number {
  if (x < 0) return Math.log1p(-Math.exp(logTail(-x)));
  const logDensity = -(x * x) / 2 - Math.log(2 * Math.PI) / 2;
  if (x < 2) {
    let term = x, sum = x;
    for (let k = 1; k < TERMS; k++) sum += term *= (x * x) / (2 * k + 1);
    return Math.log(0.5 - Math.exp(logDensity) * sum);
  }
  let fraction = x;
  for (let k = TERMS; k > 0; k--) fraction = x + k / fraction;
  return logDensity - Math.log(fraction);
}
