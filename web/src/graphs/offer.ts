/** Graphs as a run names them: by their hash, signed by whoever answers for them (`hedgerow.graphs.offer`). */

import { concatBytes, hexToBytes } from "@noble/hashes/utils.js";
import { Refused } from "../secure/errors.ts";
import { verify } from "../secure/primitives.ts";
import type { Bytes } from "../types.ts";

/** Bytes of graphs and manifest together. */
const MOST = 12 * 2 ** 20;

const CONTEXT = new TextEncoder().encode("hedgerow graphs 1\n");
const LENGTHS = { hash: [64], key: [0, 64], signature: [0, 128] } as const;

/** Which graphs a run has, before anybody has them. */
export class Offer {
  /** Of the graphs, 64 hex digits. */
  readonly hash: string;
  /** Bytes that they take as they travel. */
  readonly size: number;
  /** Public key of who signed them; empty if nobody did. */
  readonly key: string;
  readonly signature: string;

  constructor(hash: string, size: number, key = "", signature = "") {
    for (const [name, text] of Object.entries({ hash, key, signature })) {
      const allowed: readonly number[] = LENGTHS[name as keyof typeof LENGTHS];
      if (typeof text !== "string" || !allowed.includes(text.length) || !/^[0-9a-f]*$/.test(text)) {
        throw new RangeError(`the ${name} of the graphs must have ${allowed.at(-1)} hex digits`);
      }
    }
    if (!Number.isInteger(size) || size <= 0 || size > MOST) {
      throw new RangeError(`the graphs have more than ${MOST} bytes, or none`);
    }
    [this.hash, this.size, this.key, this.signature] = [hash, size, key, signature];
  }

  /** The key that has signed these graphs; empty if none has, or the signature is not valid. */
  get signer(): string {
    if (!this.key || !this.signature) return "";
    try {
      const signed = concatBytes(CONTEXT, hexToBytes(this.hash)) as Bytes;
      verify(hexToBytes(this.key) as Bytes, hexToBytes(this.signature) as Bytes, signed, "the graphs");
    } catch (error) {
      if (error instanceof Refused) return "";
      throw error;
    }
    return this.key;
  }

  /** From a description's values. Throws `RangeError`. */
  static fromJson(found: unknown): Offer {
    const given = (typeof found === "object" && found !== null ? found : {}) as Record<string, never>;
    if (String(Object.keys(given).sort()) !== "hash,key,signature,size") {
      throw new RangeError("an offer of graphs has a hash, a size, a key and a signature");
    }
    return new Offer(given.hash, given.size, given.key, given.signature);
  }
}
