/** Sampling: which clients are asked in a round, as far as a client must know it (`hedgerow.strategies.sampling`). */

import * as checks from "../checks.ts";
import { general, type Number_, repr } from "../wording.ts";

/** A rule that chooses a cohort. */
export interface Sampling {
  /** As written in a configuration. */
  readonly name: string;
  /** The probability with which each client is in a cohort, if they are drawn independently. */
  readonly rate?: number;
  /** Expected size of a cohort, if it is known without counting the clients. */
  readonly expected?: number;
  /** Least number of rounds from one of a client's rounds to its next. */
  readonly groups?: number;
  /** Size that no cohort exceeds if there are at most `population` clients. */
  readonly mostClients?: number;
}

/** Names of its properties, for the conditions of other parts. */
export function traitsOfSampling({ rate, groups, mostClients }: Sampling): string[] {
  const named = { independent: rate, turns: groups, "public size": mostClients };
  return Object.entries(named).filter(([, value]) => value !== undefined).map(([name]) => name);
}

/** Uniformly at random, without replacement. */
export function uniform(clients: unknown = null, fraction: unknown = null): Sampling {
  if ((clients === null) === (fraction === null)) {
    throw new RangeError(
      "give one of the two: clients=... (a number) or fraction=... (of the available clients)",
    );
  }
  if (clients !== null) return { name: `uniform(${checks.integer("clients", clients, 1)})` };
  checks.fraction("fraction", fraction);
  return { name: `uniform(fraction=${repr(fraction)})` };
}

/** Each client independently, with probability `clients / population`. */
export function poisson(clients: unknown, population: unknown): Sampling {
  const [expected, all] = sizes(clients, population);
  const name = `poisson(${written(clients as Number_)}, population=${all})`;
  return { name, rate: expected / all, expected, mostClients: mostOf(expected, all) };
}

/** Each client once in a fixed number of rounds. */
export function cyclic(clients: unknown, population: unknown): Sampling {
  const [least, all] = sizes(clients, population), groups = Math.floor(all / least), expected = all / groups;
  const name = `cyclic(${written(clients as Number_)}, population=${all})`;
  return { name, expected, groups, mostClients: mostOf(expected, all) };
}

function sizes(clients: unknown, population: unknown): [number, number] {
  const all = checks.integer("population", population, 1), expected = checks.positive("clients", clients);
  if (expected > all) {
    throw new RangeError(`clients is ${general(expected)}; it must be at most the population, ${all}`);
  }
  return [expected, all];
}

/** By Bernstein's inequality, fewer than one cohort in 1e30 exceeds it. */
function mostOf(expected: number, population: number): number {
  return Math.min(population, Math.ceil(expected + 12 * Math.sqrt(expected) + 50));
}

/** A short text that parses to the same number. */
function written(number: Number_): string {
  const short = general(Number(number));
  return Number(short) === Number(number) ? short : repr(number);
}
