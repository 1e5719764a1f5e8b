/**
 * A register that its administrator has signed: whoever holds that key decides who is enrolled. What its lines mean,
 * `hedgerow.client.secure.signed_register` says; here they are only checked.
 */

import { concatBytes, hexToBytes } from "@noble/hashes/utils.js";
import { Refused } from "../../secure/errors.ts";
import { digest, verify as check } from "../../secure/primitives.ts";
import { type Bytes, utf8 } from "../../types.ts";
import { parseRegister } from "./register_file.ts";

const HEAD = /^# hedgerow register, version (\d{1,9}), federation ([0-9a-f]{16})\n/;
const LAST = /# signed by ([0-9a-f]{64}): ([0-9a-f]{128})\n?$/;
const APPOINTED = /^# administrator ([0-9a-f]{64}), appointed by ([0-9a-f]{64}): ([0-9a-f]{128})$/gm;

/** The version, federation and signer that a signed register states. */
export interface Signature {
  /** Increases with each signed register, so that no older one can replace a newer. */
  readonly version: number;
  /** Its id, 16 hex digits. */
  readonly federation: string;
  /** Public key, 64 hex digits. */
  readonly administrator: string;
}

/** What the register states, not verified. Throws `Malformed` if it is unsigned. */
export function readSignature(text: string): Signature {
  const first = HEAD.exec(text), last = LAST.exec(text);
  if (!first || !last) throw new Refused("Malformed", "it is not signed");
  return { version: Number(first[1]), federation: first[2], administrator: last[1] };
}

/**
 * Check a signed register against the known key, or against the key it names if none is known yet. A key that the known
 * administrator has appointed is accepted too. Throws `Malformed` if it is unsigned, signed by another key, changed
 * since, or not a register.
 */
export function verify(text: string, administrator: string | undefined): Signature {
  const found = readSignature(text), [, , said] = LAST.exec(text) as RegExpExecArray;
  if (administrator !== undefined && !follows(text, found.federation, administrator, found.administrator)) {
    const [theirs, known] = [found.administrator, administrator].map((key) => key.slice(0, 16));
    throw new Refused("Malformed", `it is signed by ${theirs}..., but the administrator is ${known}...`);
  }
  const signed = concatBytes(utf8("hedgerow register 1\n"), digest(utf8(text.replace(LAST, "")))) as Bytes;
  if (!valid(found.administrator, said, signed)) {
    throw new Refused("Malformed", "its signature is invalid: it was changed after it was signed");
  }
  parseRegister(text);
  return found;
}

/** Whether the signer is the known administrator, or was appointed by it, directly or through others. */
function follows(text: string, federation: string, known: string, signer: string): boolean {
  const trusted = new Set([known]);
  for (const [, next, old, said] of [...text.matchAll(APPOINTED)].reverse()) { // the latest is first
    const message = concatBytes(utf8("hedgerow administrator 1\n"), hex(federation), hex(next)) as Bytes;
    if (trusted.has(old) && valid(old, said, message)) trusted.add(next);
  }
  return trusted.has(signer);
}

function valid(key: string, signature: string, message: Bytes): boolean {
  try {
    check(hex(key), hex(signature), message, key);
    return true;
  } catch {
    return false;
  }
}

function hex(digits: string): Bytes {
  return hexToBytes(digits) as Bytes;
}
