/** What a client keeps between the stages of a round; it is secret, so it is never printed. */

import type { Bytes } from "../types.ts";
import { bytes, type Codec, decode, encode, encodeAll, list, struct, TEXT } from "./codec.ts";
import { Refused } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { ADVERT, type Advert, PROTOCOL, SETUP, type Setup, SURVIVORS, type Survivors } from "./messages.ts";
import { openSealed, seal } from "./primitives.ts";

/** After `keys`: the client has published its keys. */
export interface Joined {
  setup: Setup;
  advert: Advert;
  mask_secret: Bytes;
  share_secret: Bytes;
}

/** After `shares`: the client has chosen its neighbours and sent them its shares. */
export interface Shared extends Joined {
  seed: Bytes;
  keys: Bytes;
  neighbours: readonly Advert[];
}

/** Shares of another client's secrets. */
export interface Held {
  owner: string;
  self_mask: Bytes;
  mask_key: Bytes;
}

/** After `masked`: the client's own secrets are gone; it holds shares of the others'. */
export interface Contributed {
  setup: Setup;
  name: string;
  keys: Bytes;
  sharers: readonly string[];
  neighbours: readonly string[];
  held: readonly Held[];
}

/** After `survivors`: the client has signed one list, and reveals shares for no other. */
export interface Confirmed {
  contributed: Contributed;
  survivors: Survivors;
  signature: Bytes;
}

/** The states by stage, each with its name. */
export interface States {
  Joined: Joined;
  Shared: Shared;
  Contributed: Contributed;
  Confirmed: Confirmed;
}

const KEYS = { setup: SETUP, advert: ADVERT, mask_secret: bytes(), share_secret: bytes() };
const HELD = struct<Held>("Held", { owner: TEXT, self_mask: bytes(), mask_key: bytes() });
const CONTRIBUTED = struct<Contributed>("Contributed", {
  setup: SETUP, name: TEXT, keys: bytes(32), sharers: list(TEXT), neighbours: list(TEXT), held: list(HELD),
});
const CODECS: { readonly [Kind in keyof States]: Codec<States[Kind]> } = {
  Joined: struct<Joined>("Joined", KEYS),
  Shared: struct<Shared>("Shared", { ...KEYS, seed: bytes(), keys: bytes(32), neighbours: list(ADVERT) }),
  Contributed: CONTRIBUTED,
  Confirmed: struct<Confirmed>("Confirmed", { contributed: CONTRIBUTED, survivors: SURVIVORS, signature: bytes(64) }),
};

/** A state as it is kept: without the identity's secret and the round's salt, the bytes show only its kind. */
export interface Closed {
  kind: keyof States;
  sealed: Bytes;
}

/** Seal a state with the client's identity and a salt of this round alone, without which it cannot be read. */
export async function close<Kind extends keyof States>(
  kind: Kind, state: States[Kind], identity: Identity, salt: Bytes,
): Promise<Closed> {
  return { kind, sealed: await seal(await keyOf(kind, identity, salt), encode(CODECS[kind], state), named(kind)) };
}

/** Undo `close`. Throws `OutOfOrder` if the state is from another stage or a deleted round. */
export async function reopen<Kind extends keyof States>(
  kind: Kind, closed: Closed, identity: Identity, salt: Bytes,
): Promise<States[Kind]> {
  if (closed.kind !== kind) {
    throw new Refused("OutOfOrder", `this client's state is ${closed.kind}; this stage needs ${kind}`);
  }
  let plain: Bytes;
  try {
    plain = await openSealed(await keyOf(kind, identity, salt), closed.sealed, named(kind), "this client");
  } catch {
    throw new Refused("OutOfOrder", "the state that this client has kept is from another round");
  }
  return decode(CODECS[kind], plain);
}

/** Each kind has its own key, because a key may seal only once. */
function keyOf(kind: keyof States, identity: Identity, salt: Bytes): Promise<Bytes> {
  return identity.derive(encodeAll(PROTOCOL, "kept", named(kind)), 16, salt);
}

function named(kind: keyof States): Bytes {
  return Uint8Array.from(new TextEncoder().encode(kind));
}
