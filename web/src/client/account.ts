/** What a device's updates have revealed about it, in all runs; it is never reset (`hedgerow.privacy.ledger`). */

import { type Store, readTable, written } from "../node/store.ts";
import { epsilon } from "../privacy/accounting.ts";
import { type Event, eventOf } from "../privacy/events.ts";

const NAME = "privacy-clients.json";

/** The device's account, for the noise that clients add under a mask. */
export class Account {
  readonly #store: Store;
  readonly #delta: number;

  constructor(store: Store, delta: number) {
    this.#store = store;
    this.#delta = delta;
  }

  /** The epsilon of all updates together. Throws what `releases` throws. */
  async epsilon(): Promise<number> {
    return epsilon(await this.releases(), this.#delta);
  }

  /** Whether one more update stays within a budget. */
  async allows(event: Event, budget: number): Promise<boolean> {
    return epsilon(added(await this.releases(), event), this.#delta) <= budget;
  }

  /** Record an update before it is sent. */
  async record(event: Event): Promise<void> {
    await this.#store.put(new Map([[NAME, written({ releases: added(await this.releases(), event) })]]));
  }

  /** What was released, and how often. Throws `SyntaxError` and `RangeError` if it cannot be read. */
  async releases(): Promise<[Event, number][]> {
    const found = (await readTable(this.#store, NAME))?.releases ?? [];
    if (!Array.isArray(found)) throw new SyntaxError("the account of this device is not what was written");
    return found.map(([event, count]): [Event, number] => {
      if (!Number.isSafeInteger(count) || count < 1) throw new SyntaxError("a count of the account is no whole number");
      return [eventOf(event), count];
    });
  }
}

function added(before: readonly [Event, number][], event: Event): [Event, number][] {
  const same = ([other]: [Event, number]) => JSON.stringify(other) === JSON.stringify(event);
  const known = before.find(same);
  return [...before.filter((each) => !same(each)), [event, (known?.[1] ?? 0) + 1]];
}
