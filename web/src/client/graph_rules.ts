/** Which graphs a device takes: code of a kind, so a server that offers one decides nothing. */

import * as checks from "../checks.ts";
import type { Offer } from "../graphs/offer.ts";
import { repr } from "../wording.ts";

/** What an owner has to agree to before a graph's updates are sent in the clear. */
export const CONSENT = 'a graph could return the data as "parameters", and this run has neither a mask nor noise of the'
  + " device";

/** The device's rules for graphs; by default it takes none. Throws `RangeError` if a value is out of range. */
export class GraphRules {
  /** Of graphs that it takes. */
  readonly hashes: readonly string[];
  /** It takes what is signed by one of these. */
  readonly keys: readonly string[];
  /** That a run of a graph may take. */
  readonly megabytes: number;
  /** Whether a graph's updates may be sent with neither a mask nor noise of the device. */
  readonly in_the_clear: boolean;

  constructor(given: Partial<GraphRules> = {}) {
    const { hashes = [], keys = [], megabytes = 256, in_the_clear: clear = false } = given;
    for (const [name, texts] of [["hashes", hashes], ["keys", keys]] as const) {
      if (!texts.every((text) => typeof text === "string" && text.length === 64)) {
        throw new RangeError(`graphs.${name} is ${repr(texts)}; each must be 64 hex digits`);
      }
    }
    [this.hashes, this.keys] = [hashes, keys];
    this.megabytes = checks.whole("graphs.megabytes", megabytes, 1);
    if (typeof clear !== "boolean") {
      throw new RangeError(`graphs.in_the_clear is ${repr(clear)}; it must be true or false`);
    }
    this.in_the_clear = clear;
  }

  /** Every rule that an offer breaks, with the reason; `isProtected` if the updates are masked, or carry noise. */
  refusals(offer: Offer, isProtected: boolean): string[] {
    const broken: string[] = [], signer = offer.signer;
    if (!this.hashes.length && !this.keys.length) {
      broken.push("the device takes no graphs: its policy lists neither a hash nor a key");
    } else if (!this.hashes.includes(offer.hash) && !this.keys.includes(signer)) {
      const told = signer ? `signed by ${signer.slice(0, 16)}..., whose key` : "not signed, and their hash";
      broken.push(`the graphs ${offer.hash.slice(0, 16)}... are ${told} the device's policy does not list`);
    }
    if (!isProtected && !this.in_the_clear) broken.push(`${CONSENT}; the owner allows it by graphs.in_the_clear`);
    return broken.map((why) => `rule graphs: ${why}`);
  }
}
