/**
 * What a device remembers in one federation, in its store (`hedgerow.node.device`).
 *
 * device.json        where the coordinator is, and how this device is called there
 * node               (a key) identifies the node to the coordinator
 * identity...        (keys) identify it to other devices in masked rounds
 * register.toml      public identities of all devices
 * state/RUN/         client state from round to round, by Hedgerow's run
 * promoted.json, models/   the model that the coordinator has promoted
 * descriptions/      descriptions of runs, by digest
 * graphs/            graphs by which it trains, by hash
 * outbox/            messages not answered yet, and answers before they are sent
 */

import { type Enrolment, REGISTER } from "../client/secure/enrolment.ts";
import { parseRegister } from "../client/secure/register_file.ts";
import { deviceIdentity } from "./identity.ts";
import { NodeKey } from "./keys.ts";
import { readTable, type Vault, written } from "./store.ts";

const FILE = "device.json", NODE = "node", NEXT = "node.next";

/** The contents of `device.json`. */
export interface Enrolled {
  /** The federation's name, 16 hex digits. */
  readonly federation: string;
  /** Of the device in the federation. */
  readonly name: string;
  /** Of the coordinator, `https://host:port`. */
  readonly address: string;
  /** Public key that signs the register, 64 hex digits; nothing if identities are trusted on first use. */
  readonly administrator?: string;
  /** Id that the SuperLink gave it. */
  readonly node: string;
  /** When it joined, in seconds since 1970. */
  readonly since: number;
  /** Bytes of all calls' bodies until the last round. */
  readonly up: number;
  readonly down: number;
}

/** A device that has joined. */
export class Device {
  readonly store: Vault;
  readonly key: NodeKey;
  #enrolled: Enrolled;

  private constructor(store: Vault, key: NodeKey, enrolled: Enrolled) {
    this.store = store;
    this.key = key;
    this.#enrolled = enrolled;
  }

  /** The device in a store; nothing if none has joined. Throws `SyntaxError`, `RangeError`. */
  static async open(store: Vault): Promise<Device | undefined> {
    const found = await readTable(store, FILE), pair = await store.key(NODE);
    if (!found || !pair) return undefined;
    return new Device(store, await NodeKey.of(pair as CryptoKeyPair), found as unknown as Enrolled);
  }

  /** Record that a device has joined. */
  static async make(store: Vault, enrolled: Enrolled): Promise<Device> {
    await store.put(new Map([[FILE, written(enrolled)]]));
    return new Device(store, await nodeKey(store), enrolled);
  }

  get enrolled(): Enrolled {
    return this.#enrolled;
  }

  /** The device's name in the federation. */
  get name(): string {
    return this.#enrolled.name;
  }

  /** Change fields of `Enrolled`, in the store too. */
  async change(fields: Partial<Enrolled>): Promise<void> {
    const changed = { ...this.#enrolled, ...fields };
    if (JSON.stringify(changed) === JSON.stringify(this.#enrolled)) return;
    await this.store.put(new Map([[FILE, written(changed)]]));
    this.#enrolled = changed;
  }

  /** Whether the browser still has what the device keeps. */
  async isKept(): Promise<boolean> {
    return await this.store.get(FILE) !== undefined;
  }

  /** Its identity, and the register as it is now; without one it knows no other clients. Throws `Malformed`. */
  async party(): Promise<Enrolment> {
    const register = await this.store.get(REGISTER);
    return {
      identity: await deviceIdentity(this.store),
      pinned: parseRegister(register ? new TextDecoder().decode(register) : ""),
      trustOnFirstUse: this.#enrolled.administrator === undefined,
    };
  }

  /** A new key that is to take the present one's place; the same one until it has. */
  async nextKey(): Promise<{ key: NodeKey; begun: boolean }> {
    const begun = await this.store.key(NEXT) !== undefined;
    return { key: await nodeKey(this.store, NEXT), begun };
  }

  /** Give up the new key, or put it in the present one's place; returns the device with the key that it then has. */
  async settleKey(taken: boolean): Promise<Device> {
    const next = await this.store.key(NEXT);
    await this.store.keep(new Map([[NEXT, undefined], ...(taken && next ? [[NODE, next] as const] : [])]));
    return new Device(this.store, await nodeKey(this.store), this.#enrolled);
  }
}

/** A node's key, which is made if there is none. */
export async function nodeKey(store: Vault, name = NODE): Promise<NodeKey> {
  const before = await store.key(name);
  if (before) return await NodeKey.of(before as CryptoKeyPair);
  const made = await NodeKey.make();
  await store.keep(new Map([[name, made]]));
  return await NodeKey.of(made);
}
