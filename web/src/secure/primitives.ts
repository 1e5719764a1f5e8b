/**
 * The cryptographic primitives of secure aggregation: AES from the browser, the rest from noble, which is audited,
 * and does not depend on a browser that has Curve25519.
 */

import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";
import type { Bytes } from "../types.ts";
import { Refused } from "./errors.ts";

/** `systemBytes`, or a stream that can be had again in tests. */
export type Random = (length: number) => Bytes;

const PRIME = 2n ** 255n - 19n;
const EIGHTH = 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n;
/** `y` of the eight points of edwards25519 whose order divides 8. */
const LOW_ORDER = [0n, 1n, PRIME - 1n, EIGHTH, PRIME - EIGHTH];

/** SHA-256. */
export function digest(data: Bytes): Bytes {
  return own(sha256(data));
}

/** The public key of an X25519 secret key, 32 bytes (RFC 7748, section 6.1). */
export function publicKey(secret: Bytes): Bytes {
  return own(x25519.getPublicKey(secret));
}

/** The secret shared with the owner of a public key. Throws `KeysChanged` if that key is of low order. */
export function agreed(secret: Bytes, other: Bytes): Bytes {
  try {
    return own(x25519.getSharedSecret(secret, other));
  } catch {
    throw new Refused("KeysChanged", "a public key is of low order; no honest client makes such a key");
  }
}

/** HKDF with SHA-256 (RFC 5869). */
export function derive(secret: Bytes, info: Bytes, length = 16, salt?: Bytes): Bytes {
  return own(hkdf(sha256, secret, salt, info, length));
}

/** Ed25519 public key for a secret key (RFC 8032, section 5.1.5). */
export function identityKey(secret: Bytes): Bytes {
  return own(ed25519.getPublicKey(secret));
}

/** Whether anybody could sign for an Ed25519 public key: it has low order or is not canonical. */
export function weakIdentity(key: Bytes): boolean {
  const y = key.reduceRight((number, byte) => (number << 8n) | BigInt(byte), 0n) & (2n ** 255n - 1n);
  return y >= PRIME || LOW_ORDER.includes(y);
}

/** Ed25519 signature (RFC 8032, section 5.1.6). */
export function sign(secret: Bytes, message: Bytes): Bytes {
  return own(ed25519.sign(message, secret));
}

/** Check a signature; throws `BadSignature`, which names the signer, for a weak key too. */
export function verify(key: Bytes, signature: Bytes, message: Bytes, signer: string): void {
  if (weakIdentity(key)) {
    throw new Refused("BadSignature", `the identity key of '${signer}' is weak: anybody can sign for it`);
  }
  let valid = false;
  try {
    valid = ed25519.verify(signature, message, key, { zip215: false });
  } catch {
    // A key or signature that is no point of the curve.
  }
  if (!valid) throw new Refused("BadSignature", `the signature of '${signer}' is not valid for this message`);
}

/** AES-128-GCM with a key used only once, so the nonce may be zero; `bound` is authenticated. */
export async function seal(key: Bytes, plain: Bytes, bound: Bytes): Promise<Bytes> {
  const made = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  return new Uint8Array(await crypto.subtle.encrypt(gcm(bound), made, plain));
}

/** Undo `seal`; throws `BadShare`, which names the sender. */
export async function openSealed(key: Bytes, sealed: Bytes, bound: Bytes, sender: string): Promise<Bytes> {
  const made = await crypto.subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
  try {
    return new Uint8Array(await crypto.subtle.decrypt(gcm(bound), made, sealed));
  } catch {
    throw new Refused("BadShare", `what '${sender}' sealed is not for this client and round, or was changed`);
  }
}

/** AES-128 in counter mode over `length` zeros, for a key of one stream only (NIST SP 800-38A, section 6.5). */
export async function keystream(key: Bytes, length: number, start: Bytes = new Uint8Array(16)): Promise<Bytes> {
  const made = await crypto.subtle.importKey("raw", key, "AES-CTR", false, ["encrypt"]);
  const how = { name: "AES-CTR", counter: start, length: 128 };
  return new Uint8Array(await crypto.subtle.encrypt(how, made, new Uint8Array(length)));
}

function gcm(bound: Bytes) {
  return { name: "AES-GCM", iv: new Uint8Array(12), additionalData: bound };
}

function own(data: Uint8Array): Bytes {
  return data as Bytes; // noble makes them; none is shared between threads
}
