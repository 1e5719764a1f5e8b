/**
 * The guard of a device's data: its policy, and the record of what it has revealed so far (`hedgerow.client.guard`).
 *
 * answers/NUMBER          a line for each answer that it has sent, and answers.json, how many tell of its data
 * privacy-clients.json    what its updates have revealed about it
 *
 * They are kept together with the answer, before it is sent, whatever the run, and are never started afresh.
 */

import type { Offer } from "../graphs/offer.ts";
import { readTable, type Store, written } from "../node/store.ts";
import { Refused } from "../secure/errors.ts";
import type { Strategy } from "../strategies/strategy.ts";
import { PayloadError } from "../types.ts";
import { Account } from "./account.ts";
import { BEGINNINGS, OPENINGS, UPDATES } from "./kinds.ts";
import type { Machine } from "./limits.ts";
import { clientEvent, type Policy, PolicyError } from "./policy.ts";

const ANSWERS = "answers/", COUNTED = "answers.json", DIGITS = 16;
/** Characters of a round's name, which comes from the server. */
const LONGEST = 60;

/** Which message was answered. */
export interface Answered {
  /** Hedgerow's name of the run. */
  readonly run: string;
  /** From its envelope. */
  readonly round: string;
}

/** A device's policy, and where it records what it has revealed. */
export class Guard {
  readonly policy: Policy;
  readonly #store: Store;
  readonly #now: () => number;

  /** @param now seconds since 1970. */
  constructor(policy: Policy, store: Store, now: () => number) {
    this.policy = policy;
    this.#store = store;
    this.#now = now;
  }

  /** The number of answers that tell of the device's data. Throws `PolicyError` if it cannot be read. */
  async answers(): Promise<number> {
    return (await this.#counted()).updates;
  }

  /** Refuse new work outside the device's limits; a round that it has begun goes on. Throws `NotAvailable`. */
  available(kind: string, machine: Machine): void {
    const why = BEGINNINGS.includes(kind) ? this.policy.rules.limits.reasons(machine) : new Map<string, string>();
    if (why.size) throw new Refused("NotAvailable", [...why.values()].join("; "));
  }

  /** Refuse what breaks a rule, or whose answer would exceed a limit. Throws `AgainstPolicy`, `PolicyError`. */
  async check(kind: string, strategy: Strategy): Promise<void> {
    this.policy.check(kind, strategy);
    if (![...UPDATES, ...OPENINGS].includes(kind)) return;
    const { most_answers: most, client_epsilon: budget, delta } = this.policy.rules, event = clientEvent(strategy);
    if (most !== null && await this.answers() >= most) {
      throw new Refused(
        "AgainstPolicy", `rule most_answers: the device has answered ${most} times, which is its limit`,
      );
    }
    if (event && budget !== null && !await new Account(this.#store, delta).allows(event, budget)) {
      throw new Refused(
        "AgainstPolicy", "rule client_epsilon: one more update would exceed the device's budget",
      );
    }
  }

  /** Refuse graphs that the device does not take, before any of them is fetched. Throws `AgainstPolicy`. */
  checkOffer(offer: Offer, { sumOnly, local }: Strategy): void {
    const broken = this.policy.rules.graphs.refusals(offer, sumOnly || local.sampleNoise > 0);
    if (broken.length) throw new Refused("AgainstPolicy", broken.join("; "));
  }

  /** Record an answer before it is sent, in the store where the answer is kept with it. */
  async record(store: Store, kind: string, strategy: Strategy, about: Answered, size: number): Promise<void> {
    const event = clientEvent(strategy);
    if (event && UPDATES.includes(kind)) await new Account(store, this.policy.rules.delta).record(event);
    await this.#list(store, kind, about, size);
  }

  /**
   * Count an error instead of an update as an answer: that it occurs may reveal something of the data. A message that
   * is refused or cannot be read has not reached the data, and does not count.
   */
  async failed(store: Store, kind: string, about: Answered, error: unknown): Promise<void> {
    if (error instanceof Refused || error instanceof PayloadError || !UPDATES.includes(kind)) return;
    await this.#list(store, kind, about, 0);
  }

  async #list(store: Store, kind: string, { run, round }: Answered, bytes: number): Promise<void> {
    const { last, updates } = await this.#counted();
    const time = `${new Date(this.#now() * 1000).toISOString().slice(0, 19)}+00:00`;
    const line = { time, run: String(BigInt(`0x${run}`)), round: [...round].slice(0, LONGEST).join(""), kind, bytes };
    await store.put(new Map([
      [lineOf(last + 1), written(line)],
      [COUNTED, written({ last: last + 1, updates: updates + Number(UPDATES.includes(kind)) })],
    ]));
  }

  /** How many lines there are, and how many of them tell of the device's data; the last line is there, and no later. */
  async #counted(): Promise<{ last: number; updates: number }> {
    try {
      const found = await readTable(this.#store, COUNTED), { last, updates } = found ?? { last: 0, updates: 0 };
      if (!Number.isSafeInteger(last) || !Number.isSafeInteger(updates)) throw new SyntaxError("it is no count");
      const [here, after] = [last as number, (last as number) + 1].map(lineOf);
      if ((found && !await this.#store.get(here)) || await this.#store.get(after)) {
        throw new SyntaxError("there are not as many as were counted");
      }
      return { last: last as number, updates: updates as number };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      // To go on without it would be to forget what was revealed.
      throw new PolicyError(`the record of this device's answers cannot be read: ${error.message}`);
    }
  }
}

function lineOf(number: number): string {
  return ANSWERS + String(number).padStart(DIGITS, "0");
}
