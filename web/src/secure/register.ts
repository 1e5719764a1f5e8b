/** The register: identity keys of enrolled clients, by name; and what one client knows and requires. */

import { bytesToHex } from "@noble/hashes/utils.js";
import type { SecureAggregation } from "../ring/secagg.ts";
import type { Shape } from "../ring/vector.ts";
import type { Bytes } from "../types.ts";
import { Refused } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { sorted } from "./lists.ts";
import type { Purpose } from "./messages.ts";
import { type Random, weakIdentity } from "./primitives.ts";
import { numberOf } from "./shamir.ts";

/** Pinned Ed25519 keys by client name. */
export class Register {
  #pinned: ReadonlyMap<string, Bytes>;
  #first: boolean;
  #learned: (name: string, key: Bytes) => void;
  #new = new Map<string, Bytes>();

  /**
   * @param pinned keys from enrolment.
   * @param trustOnFirstUse accept the first key that a client shows, if none is pinned: whoever controls the
   *   network can then impersonate a client that has not been seen before.
   * @param learned called with each key that is accepted in this way.
   */
  constructor(
    pinned: ReadonlyMap<string, Bytes>, trustOnFirstUse = false, learned: (name: string, key: Bytes) => void = () => {},
  ) {
    this.#pinned = pinned;
    this.#first = trustOnFirstUse;
    this.#learned = learned;
  }

  /** Refuse names that are not enrolled. */
  require(names: readonly string[]): void {
    const unknown = this.#first ? [] : names.filter((name) => !this.#pinned.has(name));
    if (unknown.length) {
      throw new Refused("UnknownIdentity", `'${unknown[0]}' is not enrolled (${unknown.length} are not)`);
    }
  }

  /** Refuse a key that is not the client's own. */
  check(name: string, key: Bytes): void {
    const known = this.#pinned.get(name) ?? this.#new.get(name);
    if (known === undefined) {
      this.require([name]);
      if (weakIdentity(key)) {
        throw new Refused("WrongIdentity", `the key of '${name}' is weak: anybody can sign for it`);
      }
      this.#new.set(name, key.slice());
      this.#learned(name, key.slice());
    } else if (bytesToHex(known) !== bytesToHex(key)) {
      throw new Refused("WrongIdentity", `the key of '${name}' is not the one that it enrolled with`);
    }
  }

  /** The key of a client whose key was checked before. */
  key(name: string): Bytes {
    const known = this.#pinned.get(name) ?? this.#new.get(name);
    if (known === undefined) throw new Refused("UnknownIdentity", `'${name}' is not enrolled`);
    return known;
  }
}

/** What one client knows and requires, whatever the server says. */
export interface Party {
  readonly name: string;
  readonly identity: Identity;
  readonly register: Register;
  readonly secure: SecureAggregation;
  /** Shape of its own vector, from the size of the cohort. */
  readonly shape: (clients: number) => Shape;
  /** Source of its secrets. */
  readonly random: Random;
  readonly purpose: Purpose;
}

/** Draw `number` of the items uniformly at random; returns them sorted. */
export function sample(items: readonly string[], number: number, random: Random): string[] {
  const pool = [...items];
  for (let place = 0; place < number; place++) {
    // 16 bytes: the remainder is uniform to 2**-100 for any cohort.
    const other = place + Number(numberOf(random(16)) % BigInt(pool.length - place));
    [pool[place], pool[other]] = [pool[other], pool[place]];
  }
  return sorted(pool.slice(0, number));
}
