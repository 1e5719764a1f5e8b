/** The invitation that a QR code's address holds after its `#`, so that no server sees it in a request. */

/** Where to join, and by which token; `task` is what will be learned, in a few words. */
export interface Invitation {
  readonly address: string;
  readonly token: string;
  readonly name?: string;
  readonly task?: string;
  /** The key that signs the register, 64 hex digits. */
  readonly administrator?: string;
  readonly ca?: string;
  readonly fingerprint?: string;
}

const TEXTS = ["name", "task", "administrator", "ca", "fingerprint"] as const;
const LONGEST = 8192;

/** The invitation in an address or its fragment; nothing if there is none. */
export function invitationIn(address: string): Invitation | undefined {
  const hidden = address.slice(address.indexOf("#") + 1).trim();
  if (!hidden || hidden.length > LONGEST) return undefined;
  try {
    const plain = hidden.replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(plain), (character) => character.charCodeAt(0));
    return checked(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return undefined;
  }
}

/** The same, from what was kept of it; nothing if it is something else. */
export function checked(found: unknown): Invitation | undefined {
  if (typeof found !== "object" || found === null) return undefined;
  const { address, token, ...others } = found as Record<string, unknown>;
  if (typeof address !== "string" || typeof token !== "string" || !/^https?:\/\/\S+$/.test(address)) return undefined;
  const told = TEXTS.filter((name) => typeof others[name] === "string").map((name) => [name, others[name]]);
  return { address, token, ...Object.fromEntries(told) };
}
