/**
 * The register of all devices' identities, as a device gets it from its coordinator (`hedgerow.node.identities`).
 *
 * A register that an administrator has signed is kept, and only a newer one from the same administrator replaces it. An
 * unsigned register is not kept: it would let the coordinator redefine the identities each time, whereas a device that
 * trusts identities on first use notices a change.
 */

import { REGISTER } from "../client/secure/enrolment.ts";
import { readSignature, verify } from "../client/secure/signed_register.ts";
import { Refused } from "../secure/errors.ts";
import { utf8 } from "../types.ts";
import type { Store } from "./store.ts";

/** Whose register it must be. */
export interface Trusted {
  readonly federation: string;
  readonly administrator?: string;
}

/**
 * Keep the register in a coordinator's answer, if it can be trusted; returns the key that signs it, 64 hex digits, or
 * nothing if there is none yet, and identities are trusted on first use. Throws `Malformed` if it is not the
 * administrator's, or older than the present one, which stays.
 */
export async function takeRegister(
  store: Store, { federation, administrator }: Trusted, answer: Readonly<Record<string, unknown>>,
): Promise<string | undefined> {
  const { register: text, trust } = answer;
  if (administrator === undefined && (typeof text !== "string" || trust !== "signed")) return undefined;
  if (typeof text !== "string" || !text) {
    throw new Refused("Malformed", "the coordinator no longer gives a signed register; the present one stays");
  }
  const found = verify(text, administrator);
  if (found.federation !== federation) {
    throw new Refused("Malformed", `the register is of federation ${found.federation}, not ${federation}`);
  }
  const before = await store.get(REGISTER), known = before && new TextDecoder().decode(before);
  if (known === text) return found.administrator;
  const last = known === undefined ? -1 : readSignature(known).version;
  if (found.version <= last) {
    throw new Refused("Malformed", `the register has version ${found.version}; the present one has version ${last}`);
  }
  await store.put(new Map([[REGISTER, utf8(text)]]));
  return found.administrator;
}
