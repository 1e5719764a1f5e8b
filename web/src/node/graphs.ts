/** Graphs on a device: fetched once from its coordinator, and kept by their hash (`hedgerow.node.graphs`). */

import type { Ask } from "../promotion/delivered.ts";
import type { Bytes } from "../types.ts";
import { Denied } from "./connection.ts";
import { readTable, type Store, written } from "./store.ts";

const PATH = "/graphs", FOLDER = "graphs/", LISTED = "graphs.json";
const MOST = 8;

/** Which graphs a run has, by their hash. */
export interface Wanted {
  /** 64 hex digits. */
  readonly hash: string;
}

/** The graphs in a device's store. */
export class DeviceGraphs<Offer extends Wanted> {
  readonly #store: Store;
  readonly #ask: Ask;
  readonly #check: (offer: Offer, data: Bytes) => void;
  readonly #refused: (why: string) => Error;

  /**
   * @param ask the coordinator.
   * @param check throws `RangeError` if bytes are not these graphs.
   * @param refused what is thrown where the coordinator has others, or none.
   */
  constructor(store: Store, ask: Ask, check: (offer: Offer, data: Bytes) => void, refused: (why: string) => Error) {
    this.#store = store;
    this.#ask = ask;
    this.#check = check;
    this.#refused = refused;
  }

  /**
   * Graphs that were fetched before, if they are still what they were, or from the coordinator. Throws `Unreachable`
   * if that can be tried again.
   */
  async get(offer: Offer): Promise<Bytes> {
    const kept = await this.#store.get(FOLDER + offer.hash);
    if (kept && !this.#wrong(offer, kept)) return kept;
    const data = await this.#fetched(offer), why = this.#wrong(offer, data);
    if (why) throw this.#refused(why);
    const before = ((await readTable(this.#store, LISTED))?.hashes ?? []) as string[];
    const all = [offer.hash, ...before.filter((hash) => hash !== offer.hash)];
    const old = all.slice(MOST).map((hash): [string, undefined] => [FOLDER + hash, undefined]);
    const listed = written({ hashes: all.slice(0, MOST) });
    await this.#store.put(new Map<string, Bytes | undefined>([[FOLDER + offer.hash, data], [LISTED, listed], ...old]));
    return data;
  }

  async #fetched({ hash }: Offer): Promise<Bytes> {
    try {
      return await this.#ask(`${PATH}/${hash}`);
    } catch (error) {
      if (!(error instanceof Denied)) throw error;
      throw this.#refused(error.message);
    }
  }

  #wrong(offer: Offer, data: Bytes): string {
    try {
      this.#check(offer, data);
      return "";
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return error.message;
    }
  }
}
