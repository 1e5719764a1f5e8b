/** A device's identity for masked rounds: made in the browser, and read by nobody, not by this page either. */

import { type Identity, identityOf } from "../secure/identity.ts";
import type { Bytes } from "../types.ts";
import type { Vault } from "./store.ts";

const PAIR = "identity", KEPT = "identity.kept", SEALING = "identity.sealing", SEALED = "identity.key";
const SIZE = 32, NONCE = 12;
const HKDF = { name: "HKDF", hash: "SHA-256" } as const, AES = { name: "AES-GCM", length: 256 } as const;

/**
 * The device's identity, which is made if there is none.
 *
 * Its secret stays in the browser, as does the one by which a round's state is sealed between its stages. Where the
 * browser has no Ed25519, the secret is kept sealed by a key that stays there, and is in the page's memory as it signs.
 */
export async function deviceIdentity(vault: Vault): Promise<Identity> {
  const pair = await vault.key(PAIR) as CryptoKeyPair | undefined;
  if (pair) return await ofBrowser(pair, await vault.key(KEPT) as CryptoKey);
  if (await vault.get(SEALED)) return await ofSealed(vault);
  const made = await newPair();
  if (!made) return await ofSealed(vault);
  const kept = await crypto.subtle.importKey("raw", random(SIZE), HKDF.name, false, ["deriveBits"]);
  await vault.keep(new Map<string, CryptoKeyPair | CryptoKey>([[PAIR, made], [KEPT, kept]]));
  return await ofBrowser(made, kept);
}

/** A pair whose secret key stays in the browser; nothing where it has no Ed25519. */
async function newPair(): Promise<CryptoKeyPair | undefined> {
  try {
    return await crypto.subtle.generateKey({ name: "Ed25519" }, false, ["sign", "verify"]) as CryptoKeyPair;
  } catch {
    return undefined;
  }
}

async function ofBrowser({ privateKey, publicKey }: CryptoKeyPair, kept: CryptoKey): Promise<Identity> {
  const own = (buffer: ArrayBuffer): Bytes => new Uint8Array(buffer);
  return {
    public: own(await crypto.subtle.exportKey("raw", publicKey)),
    sign: async (message) => own(await crypto.subtle.sign({ name: "Ed25519" }, privateKey, message)),
    derive: async (info, size, salt) => own(await crypto.subtle.deriveBits({ ...HKDF, info, salt }, kept, 8 * size)),
  };
}

async function ofSealed(vault: Vault): Promise<Identity> {
  const key = await sealingKey(vault);
  if (await vault.get(SEALED) === undefined) {
    const iv = random(NONCE), sealed = await crypto.subtle.encrypt({ name: AES.name, iv }, key, random(SIZE));
    await vault.put(new Map([[SEALED, Uint8Array.from([...iv, ...new Uint8Array(sealed)])]]));
  }
  const opened = async (): Promise<Identity> => {
    const kept = await vault.get(SEALED) ?? new Uint8Array(0), iv = kept.subarray(0, NONCE);
    return identityOf(new Uint8Array(await crypto.subtle.decrypt({ name: AES.name, iv }, key, kept.subarray(NONCE))));
  };
  return {
    public: (await opened()).public,
    sign: async (message) => await (await opened()).sign(message),
    derive: async (info, length, salt) => await (await opened()).derive(info, length, salt),
  };
}

async function sealingKey(vault: Vault): Promise<CryptoKey> {
  const before = await vault.key(SEALING) as CryptoKey | undefined;
  if (before) return before;
  const key = await crypto.subtle.generateKey(AES, false, ["encrypt", "decrypt"]);
  await vault.keep(new Map([[SEALING, key]]));
  return key;
}

function random(size: number): Bytes {
  return crypto.getRandomValues(new Uint8Array(size));
}
