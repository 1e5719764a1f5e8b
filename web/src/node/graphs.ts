/** Graphs on a device: fetched once from its coordinator, and kept by their hash (`hedgerow.node.graphs`). */

import { type Log, told } from "../client/discretion.ts";
import type { GraphSource } from "../client/trainer.ts";
import { BadGraphs } from "../graphs/errors.ts";
import type { Offer } from "../graphs/offer.ts";
import type { Ask } from "../promotion/delivered.ts";
import type { Bytes } from "../types.ts";
import { Denied } from "./connection.ts";
import { readTable, type Store, written } from "./store.ts";

const PATH = "/graphs", FOLDER = "graphs/", LISTED = "graphs.json";
const MOST = 8;

/** The graphs in a device's store. */
export class DeviceGraphs implements GraphSource {
  readonly #store: Store;
  readonly #ask: Ask;
  readonly #log: Log;

  /**
   * @param ask the coordinator.
   * @param log is told why graphs are not taken.
   */
  constructor(store: Store, ask: Ask, log: Log = () => {}) {
    this.#store = store;
    this.#ask = ask;
    this.#log = log;
  }

  /**
   * Graphs that were fetched before, if they are still what they were, or from the coordinator. Throws `NoGraphs` if it
   * has others or none, and `Unreachable` if that can be tried again.
   */
  async get(offer: Offer): Promise<Bytes> {
    const kept = await this.#store.get(FOLDER + offer.hash);
    if (kept && this.#is(offer, kept)) return kept;
    const data = await this.#fetched(offer);
    if (!data || !this.#is(offer, data)) throw told("NoGraphs");
    const before = ((await readTable(this.#store, LISTED))?.hashes ?? []) as string[];
    const all = [offer.hash, ...before.filter((hash) => hash !== offer.hash)];
    const old = all.slice(MOST).map((hash): [string, undefined] => [FOLDER + hash, undefined]);
    const listed = written({ hashes: all.slice(0, MOST) });
    await this.#store.put(new Map<string, Bytes | undefined>([[FOLDER + offer.hash, data], [LISTED, listed], ...old]));
    return data;
  }

  async #fetched({ hash }: Offer): Promise<Bytes | undefined> {
    try {
      return await this.#ask(`${PATH}/${hash}`);
    } catch (error) {
      if (!(error instanceof Denied)) throw error;
      this.#log(error.message);
      return undefined;
    }
  }

  #is(offer: Offer, data: Bytes): boolean {
    try {
      offer.opened(data);
      return true;
    } catch (error) {
      if (!(error instanceof BadGraphs)) throw error;
      this.#log(error.message);
      return false;
    }
  }
}
