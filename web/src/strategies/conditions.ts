/** What a part of a strategy requires of the other parts, and what it excludes (`hedgerow.strategies.conditions`). */

import type { Strategy } from "./strategy.ts";

/** A condition on every strategy that contains a part. */
export interface Condition {
  readonly broken: (strategy: Strategy) => boolean;
  /** Why, and what to do; `{pipeline.name}` and its like stand for the strategy's parts. */
  readonly reason: string;
}

/** The reason, filled in for this strategy; empty if the condition holds. */
export function whyBroken({ broken, reason }: Condition, strategy: Strategy): string {
  if (!broken(strategy)) return "";
  const { name, pipeline, sampling, aggregate, local } = strategy;
  const parts: Readonly<Record<string, unknown>> = {
    name, "pipeline.name": pipeline.name, "sampling.name": sampling.name, "aggregate.name": aggregate.name,
    "sampling.most_clients": sampling.mostClients, "local.optimizer": local.optimizer,
  };
  return reason.replace(/\{([a-z_.]+)\}/g, (_, part: string) => String(parts[part]));
}

/** The reason of the first that is broken; empty if all hold. */
export function firstBroken(conditions: Iterable<Condition>, strategy: Strategy): string {
  for (const condition of conditions) {
    const why = whyBroken(condition, strategy);
    if (why) return why;
  }
  return "";
}

/** The strategy has at least one of these traits. */
export function needs(traits: readonly string[], reason: string): Condition {
  return { broken: (strategy) => !traits.some((trait) => strategy.traits.has(trait)), reason };
}

/** The strategy has none of these traits. */
export function excludes(traits: readonly string[], reason: string): Condition {
  return { broken: (strategy) => traits.some((trait) => strategy.traits.has(trait)), reason };
}

/** The same conditions, with a prefix to their reasons that says what does not fit. */
export function within(what: string, ...conditions: readonly Condition[]): readonly Condition[] {
  return conditions.map(({ broken, reason }) => ({ broken, reason: `${what}: ${reason}` }));
}
