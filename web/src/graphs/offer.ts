/** Graphs as a run names them, and as they travel: by their hash, signed by whoever answers for them. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, concatBytes, hexToBytes } from "@noble/hashes/utils.js";
import { Refused } from "../secure/errors.ts";
import { verify } from "../secure/primitives.ts";
import type { Bytes } from "../types.ts";
import { Graphs } from "./bundle.ts";
import { BadGraphs } from "./errors.ts";
import { LARGEST } from "./inspection.ts";

/** Bytes of graphs and manifest together. */
export const MOST = 3 * LARGEST;

const CONTEXT = new TextEncoder().encode("hedgerow graphs 1\n");
const HEAD = "hedgerow graphs 1: ", LONGEST_HEAD = 200;
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

  /** Throws `BadGraphs` if a value is out of range. */
  constructor(hash: string, size: number, key = "", signature = "") {
    for (const [name, text] of Object.entries({ hash, key, signature })) {
      const allowed: readonly number[] = LENGTHS[name as keyof typeof LENGTHS];
      if (typeof text !== "string" || !allowed.includes(text.length) || !/^[0-9a-f]*$/.test(text)) {
        throw new BadGraphs(`the ${name} of the graphs must have ${allowed.at(-1)} hex digits`);
      }
    }
    if (!Number.isInteger(size) || size <= 0 || size > MOST) {
      throw new BadGraphs(`the graphs have more than ${MOST} bytes, or none`);
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

  /** From a description's values. Throws `BadGraphs`. */
  static fromJson(found: unknown): Offer {
    const given = (typeof found === "object" && found !== null ? found : {}) as Record<string, never>;
    if (String(Object.keys(given).sort()) !== "hash,key,signature,size") {
      throw new BadGraphs("an offer of graphs has a hash, a size, a key and a signature");
    }
    return new Offer(given.hash, given.size, given.key, given.signature);
  }

  /** The graphs as they have travelled. Throws `BadGraphs` if they are not these. */
  opened(data: Bytes): Graphs {
    const end = data.subarray(0, LONGEST_HEAD).indexOf("\n".charCodeAt(0));
    const head = String.fromCharCode(...data.subarray(0, Math.max(0, end)));
    const lengths = head.startsWith(HEAD) ? head.slice(HEAD.length).split(" ") : [];
    if (data.length !== this.size || lengths.length !== 3 || !lengths.every((each) => /^\d{1,15}$/.test(each))) {
      throw new BadGraphs("what was sent as graphs is something else");
    }
    const [first, second, third] = lengths.map(Number), start = end + 1, middle = start + first;
    if (middle + second + third !== data.length) throw new BadGraphs("what was sent as graphs is cut off");
    const described = data.subarray(start, middle);
    if (bytesToHex(sha256(described)) !== this.hash) {
      throw new BadGraphs("the graphs are not those whose hash was named");
    }
    return new Graphs(described, data.subarray(middle, middle + second), data.subarray(middle + second));
  }
}
