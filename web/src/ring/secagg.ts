/** What clients require before they answer in a masked round (`hedgerow.ring.secagg`). */

import * as checks from "../checks.ts";

const LEAST_NEIGHBOURS = 40;

/** Parameters of one secure aggregation. */
export interface SecAggPlan {
  readonly clients: number;
  /** Number of clients that each client gives shares to. */
  readonly neighbours: number;
  /** Number of shares that recover a secret. */
  readonly threshold: number;
  /** Number of clients that must have signed the same list of survivors before a client reveals a share. */
  readonly survivors: number;
}

/** Assumptions of secure aggregation; see `docs/secure-aggregation.md`. */
export interface Assumptions {
  readonly corrupt: number;
  readonly dropout: number;
  readonly minClients: number;
  readonly failureBits: number;
  readonly metrics: readonly string[];
  readonly minHonest: number;
  readonly measured: readonly string[];
}

/** Assumptions that a configuration leaves out. */
export const USUAL: Assumptions = {
  corrupt: 0.2, dropout: 0.2, minClients: 10, failureBits: 40, metrics: ["loss"], minHonest: 0,
  measured: ["loss", "accuracy", "mae"],
};

/** Assumptions, and the parameters that follow from them. Throws `RangeError` if one is out of range. */
export class SecureAggregation {
  readonly assumptions: Assumptions;

  constructor(given: Partial<Assumptions> = {}) {
    this.assumptions = { ...USUAL, ...given };
    checks.probability("corrupt", this.assumptions.corrupt);
    checks.probability("dropout", this.assumptions.dropout);
    checks.whole("min_clients", this.assumptions.minClients, 3);
    checks.whole("failure_bits", this.assumptions.failureBits, 20, 128);
    // A cohort too small for the noise is refused in its own round, not here.
    planOf(this.assumptions.minClients, { ...this.assumptions, minHonest: 0 });
  }

  /** The smallest safe parameters for a cohort (Bell et al. 2020, section 3.2 and appendix B). */
  plan(clients: number): SecAggPlan {
    return planOf(clients, this.assumptions);
  }

  /** The most corrupt neighbours a client can have if it draws from `left` clients of the cohort. */
  corruptNear(clients: number, left: number, neighbours: number): number {
    const { corrupt, failureBits } = this.assumptions;
    return bound(clients, left, part(corrupt, clients), Math.min(neighbours, left - 1), failureBits);
  }

  /** Clients of a cohort that neither drop out nor are corrupt. */
  honest(clients: number): number {
    return clients - part(this.assumptions.corrupt, clients) - part(this.assumptions.dropout, clients);
  }

  /** For sums that `minHonest` clients make private; without metrics, which get no noise. */
  under(minHonest: number): SecureAggregation {
    return new SecureAggregation({ ...this.assumptions, minHonest, metrics: [] });
  }
}

function planOf(clients: number, { corrupt, dropout, failureBits, minHonest }: Assumptions): SecAggPlan {
  const bad = part(corrupt, clients), leaving = part(dropout, clients), left = clients - leaving;
  if (minHonest + bad > clients) {
    throw new RangeError(`a cohort of ${clients}, of which ${bad} may be corrupt, lacks ${minHonest} honest clients`);
  }
  const survivors = Math.floor((clients + bad) / 2) + 1;
  for (let k = Math.min(clients - 1, LEAST_NEIGHBOURS); k < clients && survivors <= left; k++) {
    const mostBad = bound(clients, left, bad, Math.min(k, left - 1), failureBits);
    const mostLeft = k - bound(clients, clients, leaving, k, failureBits);
    if (mostBad >= mostLeft) continue;
    const wanted = Math.max(survivors, minHonest + bad);
    const threshold = Math.max(mostBad + 1, Math.min(mostLeft, Math.floor((k * wanted) / clients)));
    return { clients, neighbours: k, threshold, survivors: wanted };
  }
  throw new RangeError(
    `a cohort of ${clients} cannot tolerate ${bad} corrupt clients and ${leaving} that drop out; use a larger`
      + " cohort, or lower corrupt or dropout",
  );
}

function part(fraction: number, clients: number): number {
  return Math.ceil(fraction * clients - 1e-9);
}

/**
 * The smallest number that the marked clients drawn exceed with probability `2**-bits / clients`, if each client
 * draws `drawn` of the `left - 1` others, of which `marked` are marked.
 */
function bound(clients: number, left: number, marked: number, drawn: number, bits: number): number {
  const others = left - 1, unmarked = others - marked;
  if (unmarked < 0) return drawn;
  const allowed = choose(others, drawn), first = Math.min(marked, drawn);
  let ofMarked = choose(marked, first), ofOthers = choose(unmarked, drawn - first), tail = 0n;
  for (let found = first; found > 0; found--) {
    tail += ofMarked * ofOthers;
    if ((tail * BigInt(clients)) << BigInt(bits) > allowed) return found;
    ofMarked = (ofMarked * BigInt(found)) / BigInt(marked - found + 1);
    ofOthers = (ofOthers * BigInt(unmarked - drawn + found)) / BigInt(drawn - found + 1);
  }
  return 0;
}

/** The number of ways to choose `k` of `n`. */
function choose(n: number, k: number): bigint {
  if (k > n) return 0n;
  let ways = 1n;
  for (let i = 1; i <= k; i++) ways = (ways * BigInt(n - k + i)) / BigInt(i);
  return ways;
}
