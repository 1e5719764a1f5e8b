/** The messages of a secure aggregation round; their table is in `hedgerow.secure.messages`. */

import type { Bytes } from "../types.ts";
import { bytes, encode, encodeAll, INT, list, struct, TEXT } from "./codec.ts";
import { digest } from "./primitives.ts";

export const PROTOCOL = "hedgerow secure aggregation 1";

/** What is summed: updates; or what clients measure of a model on the samples that they hold out. */
export type Purpose = "train" | "evaluate";

/** A round, as the server announces it. */
export interface Setup {
  /** A text that identifies the run and the round's purpose, see `purposeOf`. */
  run: string;
  round: number;
  members: readonly string[];
  neighbours: number;
  threshold: number;
  survivors: number;
  bits: number;
  length: number;
  words: number;
  /** Hash of the model and of everything else that training depends on. */
  model: Bytes;
}

/** A client's keys of one round, signed by its identity. */
export interface Advert {
  name: string;
  identity: Bytes;
  mask_key: Bytes;
  share_key: Bytes;
  signature: Bytes;
}

/** The keys of all clients that have joined. */
export interface Adverts {
  session: Bytes;
  adverts: readonly Advert[];
}

/** Hashes of two shares. */
export interface Commitments {
  self_mask: Bytes;
  mask_key: Bytes;
}

/** Two shares, sealed for one neighbour, and the commitments to them. */
export interface Box {
  recipient: string;
  sealed: Bytes;
  committed: Commitments;
}

/** A client's shares for its neighbours, and the hash of the seed of its own mask. */
export interface Shares {
  keys: Bytes;
  self_mask: Bytes;
  boxes: readonly Box[];
}

/** The content of a box; names and place bind it to this box. */
export interface Opened {
  sender: string;
  recipient: string;
  place: number;
  self_mask: Bytes;
  mask_key: Bytes;
}

/** A box and the keys of its sender. */
export interface Received {
  sender: Advert;
  box: Box;
}

/** What a client receives before it masks: who has shared, and the shares meant for it. */
export interface Delivery {
  keys: Bytes;
  sharers: readonly string[];
  received: readonly Received[];
}

/** What a client sends along with its masked vector: senders whose boxes do not match their commitments. */
export interface Masked {
  keys: Bytes;
  complaints: readonly string[];
}

/** Which clients have sent a masked vector, and which have shared but not sent one. */
export interface Survivors {
  keys: Bytes;
  alive: readonly string[];
  dead: readonly string[];
}

/** A survivor's signature of the list. */
export interface Signed {
  keys: Bytes;
  signature: Bytes;
}

/** The list of survivors, with enough signatures that no other list can have as many. */
export interface Unmask {
  survivors: Survivors;
  signers: readonly { name: string; signature: Bytes }[];
}

/** A share of somebody's self mask (of a survivor) or mask key (of a dead client). */
export interface Share {
  owner: string;
  of_dead: number;
  value: Bytes;
}

/** The shares that a client holds, one for each client that gave it some. */
export interface Revealed {
  keys: Bytes;
  shares: readonly Share[];
}

const KEY = bytes(32), DIGEST = bytes(32), SIGNATURE = bytes(64), NAMES = list(TEXT);

export const SETUP = struct<Setup>("Setup", {
  run: TEXT, round: INT, members: NAMES, neighbours: INT, threshold: INT, survivors: INT, bits: INT, length: INT,
  words: INT, model: DIGEST,
});
export const ADVERT = struct<Advert>("Advert", {
  name: TEXT, identity: KEY, mask_key: KEY, share_key: KEY, signature: SIGNATURE,
});
export const ADVERTS = struct<Adverts>("Adverts", { session: DIGEST, adverts: list(ADVERT) });
const COMMITMENTS = struct<Commitments>("Commitments", { self_mask: DIGEST, mask_key: DIGEST });
const BOX = struct<Box>("Box", { recipient: TEXT, sealed: bytes(), committed: COMMITMENTS });
export const SHARES = struct<Shares>("Shares", { keys: DIGEST, self_mask: DIGEST, boxes: list(BOX) });
export const OPENED = struct<Opened>("Opened", {
  sender: TEXT, recipient: TEXT, place: INT, self_mask: bytes(), mask_key: bytes(),
});
export const DELIVERY = struct<Delivery>("Delivery", {
  keys: DIGEST, sharers: NAMES, received: list(struct<Received>("Received", { sender: ADVERT, box: BOX })),
});
export const MASKED = struct<Masked>("Masked", { keys: DIGEST, complaints: NAMES });
export const SURVIVORS = struct<Survivors>("Survivors", { keys: DIGEST, alive: NAMES, dead: NAMES });
export const SIGNED = struct<Signed>("Signed", { keys: DIGEST, signature: SIGNATURE });
export const UNMASK = struct<Unmask>("Unmask", {
  survivors: SURVIVORS, signers: list(struct("Signer", { name: TEXT, signature: SIGNATURE })),
});
export const REVEALED = struct<Revealed>("Revealed", {
  keys: DIGEST, shares: list(struct<Share>("Share", { owner: TEXT, of_dead: INT, value: bytes() })),
});

/** What a round sums; a run has another name in rounds of evaluation. */
export function purposeOf({ run }: Setup): Purpose {
  return run.endsWith(" evaluate") ? "evaluate" : "train";
}

/** A run's name in rounds of a purpose. */
export function nameOf(run: string, purpose: Purpose): string {
  return purpose === "train" ? run : `${run} evaluate`;
}

/** Digest of a setup, to which the keys of a round are bound. */
export function sessionOf(setup: Setup): Bytes {
  return digest(encodeAll(PROTOCOL, "setup", encode(SETUP, setup)));
}

/** Digest of the session and everybody's keys, to which all later stages are bound. */
export function keysOf(adverts: Adverts): Bytes {
  return digest(encodeAll(PROTOCOL, "adverts", encode(ADVERTS, adverts)));
}

/** The bytes of an advert that its owner signs. */
export function signedAdvert(advert: Omit<Advert, "identity" | "signature">, session: Bytes): Bytes {
  const { name, mask_key, share_key } = advert;
  return encodeAll(PROTOCOL, "keys", session, name, mask_key, share_key);
}

/** The bytes that survivors sign. */
export function signedSurvivors(survivors: Survivors): Bytes {
  return encodeAll(PROTOCOL, "survivors", encode(SURVIVORS, survivors));
}

/** Hash of a share; as shares are random, it reveals nothing about them. */
export function commitment(keys: Bytes, owner: string, recipient: string, what: string, share: Bytes): Bytes {
  return digest(encodeAll(PROTOCOL, "share", keys, owner, recipient, what, share));
}

/** Hash of the seed of a self mask. */
export function seedCommitment(keys: Bytes, owner: string, seed: Bytes): Bytes {
  return digest(encodeAll(PROTOCOL, "self mask", keys, owner, seed));
}
