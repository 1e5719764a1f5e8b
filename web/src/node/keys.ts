/** The key that identifies a node to a SuperLink: made in the browser, which never hands it out, and never sent. */

import { type Bytes, utf8 } from "../types.ts";

const KIND = { name: "ECDSA", namedCurve: "P-384" } as const;
const SAME_SECONDS = 5;
const HALF = 48; // bytes of each of a signature's two numbers
const LINE = 64;

/** A P-384 key, as Flower's nodes have them. */
export class NodeKey {
  readonly #secret: CryptoKey;
  /** The public key, PEM. */
  readonly public: Bytes;
  #headers: Readonly<Record<string, string>> = {};
  #until = 0;

  private constructor(secret: CryptoKey, pem: Bytes) {
    this.#secret = secret;
    this.public = pem;
  }

  /** The key of a pair that the browser keeps. Throws `RangeError` if it is no such pair, or could be handed out. */
  static async of({ privateKey, publicKey }: CryptoKeyPair): Promise<NodeKey> {
    const { name, namedCurve } = privateKey.algorithm as EcKeyAlgorithm;
    if (name !== KIND.name || namedCurve !== KIND.namedCurve || privateKey.extractable) {
      throw new RangeError("the node's key is not a P-384 key that stays in the browser; erase it and join again");
    }
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", publicKey));
    const lines = base64(spki).match(new RegExp(`.{1,${LINE}}`, "g")) ?? [];
    const pem = ["-----BEGIN PUBLIC KEY-----", ...lines, "-----END PUBLIC KEY-----", ""].join("\n");
    return new NodeKey(privateKey, utf8(pem));
  }

  /** A new pair, for `of`; the browser's database can keep it as it is. */
  static async make(): Promise<CryptoKeyPair> {
    return await crypto.subtle.generateKey(KIND, false, ["sign", "verify"]) as CryptoKeyPair;
  }

  /** ECDSA with SHA-256, as a node signs: DER. */
  async sign(message: Bytes): Promise<Bytes> {
    return der(new Uint8Array(await crypto.subtle.sign({ name: KIND.name, hash: "SHA-256" }, this.#secret, message)));
  }

  /**
   * The headers that sign a call: Flower signs only the time, and leaves the rest to TLS. They are used again for some
   * seconds, because a server accepts them for minutes.
   */
  async headers(now = Date.now()): Promise<Readonly<Record<string, string>>> {
    if (now < this.#until && now >= this.#until - 1000 * SAME_SECONDS) return this.#headers;
    const time = new Date(now).toISOString().replace("Z", "+00:00");
    this.#headers = {
      "flwr-public-key": base64(this.public),
      "flwr-timestamp": time,
      "flwr-signature": base64(await this.sign(utf8(time))),
    };
    this.#until = now + 1000 * SAME_SECONDS;
    return this.#headers;
  }
}

/** Two numbers of a signature as ASN.1's `SEQUENCE` of two `INTEGER`s (RFC 3279, section 2.2.3). */
function der(signature: Bytes): Bytes {
  const parts = [signature.subarray(0, HALF), signature.subarray(HALF)].flatMap((number) => {
    const start = number.findIndex((byte) => byte !== 0), shortest = [...number.subarray(start < 0 ? HALF - 1 : start)];
    if (shortest[0] > 127) shortest.unshift(0); // otherwise it would be negative
    return [2, shortest.length, ...shortest];
  });
  return Uint8Array.of(0x30, parts.length, ...parts); // below 128 bytes: two numbers of at most 49, and their heads
}

/** As it is written in headers and PEM. */
export function base64(data: Bytes): string {
  return btoa(String.fromCharCode(...data));
}
