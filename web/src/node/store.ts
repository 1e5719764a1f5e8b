/** What outlasts a page: named bytes, and keys that nobody can read out. */

import { type Bytes, utf8 } from "../types.ts";

/** Named bytes; `MemoryStore` for tests, `IndexedStore` in a browser. */
export interface Store {
  get(name: string): Promise<Bytes | undefined>;
  /** All of these at once, or none of them; `undefined` removes. */
  put(changes: ReadonlyMap<string, Bytes | undefined>): Promise<void>;
  /** Names that begin so, sorted. */
  names(prefix: string): Promise<string[]>;
  /** Everything is gone afterwards, the keys too. */
  erase(): Promise<void>;
}

/** A key, or a pair, as the browser keeps it. */
export type Kept = CryptoKey | CryptoKeyPair;

/** A store that keeps keys too, beside the bytes. */
export interface Vault extends Store {
  key(name: string): Promise<Kept | undefined>;
  /** All of these keys at once, or none of them; `undefined` removes. */
  keep(keys: ReadonlyMap<string, Kept | undefined>): Promise<void>;
}

/** Keeps everything for as long as the page or the process lives. */
export class MemoryStore implements Vault {
  #bytes = new Map<string, Bytes>();
  #keys = new Map<string, Kept>();

  async get(name: string): Promise<Bytes | undefined> {
    return this.#bytes.get(name)?.slice();
  }

  async put(changes: ReadonlyMap<string, Bytes | undefined>): Promise<void> {
    for (const [name, value] of changes) change(this.#bytes, name, value?.slice());
  }

  async names(prefix: string): Promise<string[]> {
    return [...this.#bytes.keys()].filter((name) => name.startsWith(prefix)).sort();
  }

  async key(name: string): Promise<Kept | undefined> {
    return this.#keys.get(name);
  }

  async keep(keys: ReadonlyMap<string, Kept | undefined>): Promise<void> {
    for (const [name, key] of keys) change(this.#keys, name, key);
  }

  async erase(): Promise<void> {
    this.#bytes.clear();
    this.#keys.clear();
  }
}

/** A table that is kept as JSON; nothing if there is none. Throws `SyntaxError` if it is something else. */
export async function readTable(store: Store, name: string): Promise<Record<string, unknown> | undefined> {
  const data = await store.get(name);
  if (data === undefined) return undefined;
  const found: unknown = JSON.parse(new TextDecoder().decode(data));
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    throw new SyntaxError(`${name} is not a table of names and values`);
  }
  return found as Record<string, unknown>;
}

/** A value as JSON, to be kept. */
export function written(value: unknown): Bytes {
  return utf8(JSON.stringify(value));
}

function change<V>(table: Map<string, V>, name: string, value: V | undefined): void {
  if (value === undefined) table.delete(name);
  else table.set(name, value);
}
