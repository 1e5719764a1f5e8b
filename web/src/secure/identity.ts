/** A client's Ed25519 identity, whose secret its keeper may be unable to read. */

import type { Bytes } from "../types.ts";
import { derive, identityKey, sign } from "./primitives.ts";

/** Signs, and makes the keys of what its client keeps for itself. */
export interface Identity {
  /** The public key, 32 bytes. */
  readonly public: Bytes;
  /** An Ed25519 signature. */
  sign(message: Bytes): Promise<Bytes>;
  /** HKDF with SHA-256 from a secret that nobody else has. */
  derive(info: Bytes, length: number, salt: Bytes): Promise<Bytes>;
}

/** The identity with a secret key of 32 bytes that is in memory. */
export function identityOf(secret: Bytes): Identity {
  return {
    public: identityKey(secret),
    sign: async (message) => sign(secret, message),
    derive: async (info, length, salt) => derive(secret, info, length, salt),
  };
}
