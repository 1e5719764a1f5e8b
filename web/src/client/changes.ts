/** Changes of what a device keeps, held back until they can be made all at once. */

import type { Store } from "../node/store.ts";
import type { Bytes } from "../types.ts";

/** A store with changes on top that are not made yet. */
export class Changes implements Store {
  readonly #below: Store;
  readonly #changes = new Map<string, Bytes | undefined>();

  constructor(below: Store) {
    this.#below = below;
  }

  /** What has been changed so far. */
  get all(): ReadonlyMap<string, Bytes | undefined> {
    return this.#changes;
  }

  async get(name: string): Promise<Bytes | undefined> {
    return this.#changes.has(name) ? this.#changes.get(name)?.slice() : await this.#below.get(name);
  }

  async put(changes: ReadonlyMap<string, Bytes | undefined>): Promise<void> {
    for (const [name, value] of changes) this.#changes.set(name, value?.slice());
  }

  async names(prefix: string): Promise<string[]> {
    const found = new Set(await this.#below.names(prefix));
    for (const [name, value] of this.#changes) {
      if (value === undefined) found.delete(name);
      else if (name.startsWith(prefix)) found.add(name);
    }
    return [...found].sort();
  }

  async erase(): Promise<void> {
    this.#changes.clear();
    await this.#below.erase();
  }
}
