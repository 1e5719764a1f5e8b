/** A phone's store in the browser: one database, in which a change is one transaction. */

import type { Bytes } from "../types.ts";
import type { Kept, Vault } from "./store.ts";

const VERSION = 1, BYTES = "bytes", KEYS = "keys";
const LAST = "\uffff"; // above every name that begins in the same way

/**
 * Named bytes and keys in IndexedDB. What was put is there after the browser or the machine has stopped at any moment,
 * and of what was not, nothing is. All methods throw `DOMException` where the browser cannot write, as when it is full.
 */
export class IndexedStore implements Vault {
  readonly #name: string;
  #open: Promise<IDBDatabase> | undefined;

  /** @param name of the database: one for each device. */
  constructor(name = "hedgerow") {
    this.#name = name;
  }

  async get(name: string): Promise<Bytes | undefined> {
    return await this.#read<Bytes>(BYTES, name);
  }

  async put(changes: ReadonlyMap<string, Bytes | undefined>): Promise<void> {
    await this.#write(BYTES, changes);
  }

  async names(prefix: string): Promise<string[]> {
    const range = IDBKeyRange.bound(prefix, prefix + LAST);
    const found = (await this.#database()).transaction(BYTES).objectStore(BYTES).getAllKeys(range);
    return await answered(found) as string[];
  }

  async key(name: string): Promise<Kept | undefined> {
    return await this.#read<Kept>(KEYS, name);
  }

  async keep(keys: ReadonlyMap<string, Kept | undefined>): Promise<void> {
    await this.#write(KEYS, keys);
  }

  /**
   * Another tab that has the database open closes it, and makes a new and empty one when it next needs one; where it
   * cannot, because the browser has frozen it, it finds the database empty.
   */
  async erase(): Promise<void> {
    const database = await this.#database(), kinds = [BYTES, KEYS];
    const transaction = database.transaction(kinds, "readwrite", { durability: "strict" });
    const done = completed(transaction);
    for (const kind of kinds) transaction.objectStore(kind).clear();
    await done;
    this.#open = undefined;
    database.close();
    const request = indexedDB.deleteDatabase(this.#name), deleted = answered(request);
    await Promise.race([deleted, new Promise((resolve) => (request.onblocked = resolve))]);
  }

  async #read<V>(kind: string, name: string): Promise<V | undefined> {
    return await answered((await this.#database()).transaction(kind).objectStore(kind).get(name)) as V | undefined;
  }

  async #write(kind: string, changes: ReadonlyMap<string, unknown>): Promise<void> {
    const transaction = (await this.#database()).transaction(kind, "readwrite", { durability: "strict" });
    const done = completed(transaction), to = transaction.objectStore(kind);
    try {
      for (const [name, value] of changes) {
        if (value === undefined) to.delete(name);
        else to.put(value instanceof Uint8Array ? value.slice() : value, name); // a view takes its whole buffer along
      }
    } catch (error) {
      done.catch(() => {});
      transaction.abort(); // it would keep what was put so far
      throw error;
    }
    await done;
  }

  #database(): Promise<IDBDatabase> {
    this.#open ??= this.#opened();
    return this.#open;
  }

  async #opened(): Promise<IDBDatabase> {
    const request = indexedDB.open(this.#name, VERSION);
    request.onupgradeneeded = () => {
      for (const kind of [BYTES, KEYS]) request.result.createObjectStore(kind);
    };
    try {
      const database = await answered(request);
      const gone = () => {
        database.close();
        this.#open = undefined;
      };
      database.onversionchange = gone; // another tab erases it
      database.onclose = gone; // the browser has cleared its storage
      return database;
    } catch (error) {
      this.#open = undefined;
      throw error;
    }
  }
}

function answered<V>(request: IDBRequest<V>): Promise<V> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}
