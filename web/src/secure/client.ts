/**
 * A client's side of a secure aggregation round: five answers, each computed from the state of the last.
 *
 * No message from the server can make a client reveal a share outside the one list of survivors it has signed, or
 * take part under weaker settings than its own. Every refusal is a `Refused` error.
 */

import { bytesToHex } from "@noble/hashes/utils.js";
import { type RingVector, wordsOf } from "../ring/vector.ts";
import type { Bytes } from "../types.ts";
import { decode, encode } from "./codec.ts";
import { Refused } from "./errors.ts";
import { checkNames, compare, sorted } from "./lists.ts";
import { boxKey, mask, pairKey, selfKey } from "./masks.ts";
import * as messages from "./messages.ts";
import type { Advert, Adverts, Delivery, Masked, Purpose, Received, Revealed, Setup, Shares, Signed, Survivors, Unmask }
  from "./messages.ts";
import { openSealed, publicKey, seal, verify } from "./primitives.ts";
import { type Party, sample } from "./register.ts";
import { split } from "./shamir.ts";
import type { Confirmed, Contributed, Held, Joined, Shared } from "./states.ts";

const LONGEST_RUN = 200;

/** Stage `keys`: check the server's setup, and answer with fresh keys. */
export async function join(party: Party, setup: Setup): Promise<[Advert, Joined]> {
  checkNames(setup.members, "members");
  if ([...setup.run].length > LONGEST_RUN) {
    throw new Refused("Malformed", `the run's name has more than ${LONGEST_RUN} characters`);
  }
  checkPurpose(party.purpose, setup);
  if (!setup.members.includes(party.name)) {
    throw new Refused("NotAMember", `'${party.name}' was asked, but is not a member of the cohort`);
  }
  const identity = party.identity.public;
  party.register.require(setup.members);
  party.register.check(party.name, identity);
  checkPlan(party, setup);
  const maskSecret = party.random(32), shareSecret = party.random(32);
  const keys = { name: party.name, mask_key: publicKey(maskSecret), share_key: publicKey(shareSecret) };
  const signature = await party.identity.sign(messages.signedAdvert(keys, messages.sessionOf(setup)));
  const advert = { ...keys, identity, signature };
  return [advert, { setup, advert, mask_secret: maskSecret, share_secret: shareSecret }];
}

/** Refuse a round of another purpose: what is kept of it must serve no other. */
export function checkPurpose(purpose: Purpose, setup: Setup): void {
  const theirs = messages.purposeOf(setup);
  if (theirs !== purpose) {
    throw new Refused("WrongPurpose", `the round is one of '${theirs}', and '${purpose}' is asked`);
  }
}

/** Refuse a setup that is weaker than this client's own settings, or does not fit its vector. */
function checkPlan(party: Party, setup: Setup): void {
  const clients = setup.members.length, least = party.secure.assumptions.minClients;
  if (clients < least) {
    throw new Refused("CohortTooSmall", `the cohort has ${clients} clients; it must have at least ${least}`);
  }
  let shape, plan;
  try {
    [shape, plan] = [party.shape(clients), party.secure.plan(clients)];
  } catch (error) {
    throw new Refused("CohortTooSmall", (error as Error).message);
  }
  if (setup.neighbours !== plan.neighbours) {
    throw new Refused("TooFewNeighbours", `neighbours is ${setup.neighbours}; it must be ${plan.neighbours}`);
  }
  if (setup.threshold < plan.threshold || setup.threshold > setup.neighbours) {
    throw new Refused("ThresholdTooLow", `the threshold is ${setup.threshold}; it must be ${plan.threshold} or more`);
  }
  if (setup.survivors < plan.survivors || setup.survivors > clients) {
    throw new Refused("SurvivorFloorTooLow", `survivors is ${setup.survivors}; it must be ${plan.survivors} or more`);
  }
  const theirs = String([setup.bits, setup.length, setup.words]);
  const own = String([shape.ring.bits, shape.length, wordsOf(shape)]);
  if (theirs !== own) {
    throw new Refused("WrongShape", `the server's bits, length and words are ${theirs}, this client's are ${own}`);
  }
}

/** Stage `shares`: choose neighbours, and give each of them a share of two secrets. */
export async function share(party: Party, state: Joined, message: Adverts): Promise<[Shares, Shared]> {
  checkAdverts(party, state, message);
  const { name, random } = party, session = messages.sessionOf(state.setup), keys = messages.keysOf(message);
  const places = new Map(message.adverts.map((advert, i) => [advert.name, i + 1]));
  const others = [...places.keys()].filter((each) => each !== name);
  const chosen = sample(others, Math.min(state.setup.neighbours, others.length), random);
  const at = chosen.map((each) => places.get(each) ?? 0), neighbours = at.map((place) => message.adverts[place - 1]);
  for (const each of neighbours) verify(each.identity, each.signature, messages.signedAdvert(each, session), each.name);
  const seed = random(32);
  const ofSeed = split(seed, at, state.setup.threshold, random);
  const ofKey = split(state.mask_secret, at, state.setup.threshold, random);
  const boxes = neighbours.map(async ({ name: recipient, share_key }, i) => {
    const opened = { sender: name, recipient, place: at[i], self_mask: ofSeed[i], mask_key: ofKey[i] };
    const key = boxKey(state.share_secret, share_key, keys, name, recipient);
    const sealed = await seal(key, encode(messages.OPENED, opened), keys);
    return { recipient, sealed, committed: commitments(keys, opened) };
  });
  const answer = { keys, self_mask: messages.seedCommitment(keys, name, seed), boxes: await Promise.all(boxes) };
  return [answer, { ...state, seed, keys, neighbours }];
}

function checkAdverts(party: Party, { setup, advert: own }: Joined, { session, adverts }: Adverts): void {
  if (!same(session, messages.sessionOf(setup))) {
    throw new Refused("StaleRound", "the keys are for another run, round, cohort or model than the one joined");
  }
  const names = adverts.map((advert) => advert.name);
  checkNames(names, "adverts", { among: setup.members });
  if (!adverts.some((advert) => sameAdvert(advert, own))) {
    throw new Refused("KeysChanged", `the keys of '${party.name}' are not the ones it sent`);
  }
  if (names.length < setup.survivors || names.length <= setup.threshold) {
    throw new Refused("TooFewSurvivors", `${names.length} clients have sent keys; ${setup.survivors} are needed`);
  }
  // If the server leaves clients out, assume that they are all honest.
  const corrupt = party.secure.corruptNear(setup.members.length, names.length, setup.neighbours);
  if (corrupt >= setup.threshold) {
    throw new Refused(
      "TooFewSurvivors",
      `${names.length} of ${setup.members.length} clients have sent keys: of ${setup.neighbours} neighbours among`
        + ` them ${corrupt} may be corrupt, and could recover a secret together`,
    );
  }
  for (const { name, identity } of adverts) party.register.check(name, identity);
  const used = adverts.flatMap((advert) => [advert.mask_key, advert.share_key]).map(bytesToHex);
  const identities = adverts.map((advert) => bytesToHex(advert.identity));
  if (new Set(used).size !== used.length || new Set(identities).size !== identities.length) {
    throw new Refused("KeysChanged", "two clients have the same key; each must have its own");
  }
}

/** Stage `masked`: open the others' shares, and mask the vector, in place. */
export async function contribute(
  party: Party, state: Shared, message: Delivery, vector: RingVector,
): Promise<[Masked, Contributed]> {
  const near = checkDelivery(party, state, message), { name } = party, { keys, setup } = state;
  const held: Held[] = [], complaints: string[] = [], session = messages.sessionOf(setup);
  const publics = new Map<string, Bytes>();
  for (const each of state.neighbours) if (near.includes(each.name)) publics.set(each.name, each.mask_key);
  for (const received of message.received) {
    const { sender } = received;
    party.register.check(sender.name, sender.identity);
    if (!state.neighbours.some((known) => sameAdvert(known, sender))) {
      verify(sender.identity, sender.signature, messages.signedAdvert(sender, session), sender.name);
    }
    if (!publics.has(sender.name)) publics.set(sender.name, sender.mask_key);
    const opened = await open(party, state, received);
    if (opened) held.push(opened);
    else complaints.push(sender.name);
  }
  const shape = party.shape(setup.members.length);
  for (const [other, key] of publics) {
    const pair = pairKey(state.mask_secret, key, keys, [name, other]);
    await mask(vector, pair, shape, compare(name, other) < 0 ? 1 : -1);
  }
  await mask(vector, selfKey(state.seed, keys, name), shape, 1);
  shape.ring.reduced(vector.values);
  const after = { setup, name, keys, sharers: message.sharers, neighbours: sorted(near), held };
  return [{ keys, complaints }, after];
}

/**
 * Refuse a delivery that isolates this client; returns its own neighbours that have shared. Called before the client
 * trains, and again before it masks.
 */
export function checkDelivery(party: Party, { setup, keys, neighbours }: Shared, message: Delivery): string[] {
  checkKeys(message.keys, keys);
  checkNames(message.sharers, "sharers", { among: setup.members, having: party.name });
  const sharers = message.sharers.length;
  if (sharers < setup.survivors) {
    throw new Refused("TooFewSurvivors", `${sharers} clients have shared; ${setup.survivors} are needed`);
  }
  const senders = message.received.map(({ sender }) => sender.name);
  checkNames(senders, "senders", { among: message.sharers });
  if (senders.includes(party.name)) {
    throw new Refused("NotAMember", `'${party.name}' is listed as having sent shares to itself`);
  }
  return nearOnes(neighbours.map((advert) => advert.name), message.sharers, setup.threshold);
}

/** The shares in a box; nothing if they are for another client, or do not match their commitments. */
async function open(party: Party, state: Shared, { sender, box }: Received): Promise<Held | undefined> {
  const key = boxKey(state.share_secret, sender.share_key, state.keys, sender.name, party.name);
  try {
    const opened = decode(messages.OPENED, await openSealed(key, box.sealed, state.keys, sender.name));
    const found = commitments(state.keys, { ...opened, sender: sender.name, recipient: party.name });
    const fits = opened.sender === sender.name && opened.recipient === party.name
      && same(found.self_mask, box.committed.self_mask) && same(found.mask_key, box.committed.mask_key);
    return fits ? { owner: sender.name, self_mask: opened.self_mask, mask_key: opened.mask_key } : undefined;
  } catch (error) {
    if (error instanceof Refused && error.why === "BadShare") return undefined;
    throw error;
  }
}

/** Stage `survivors`: sign the one list for which shares will be revealed. */
export async function confirm(
  party: Party, state: Contributed, message: Survivors,
): Promise<[Signed, Confirmed]> {
  const { setup } = state, { alive, dead } = message;
  checkKeys(message.keys, state.keys);
  checkNames(alive, "alive");
  checkNames(dead, "dead");
  const both = alive.find((name) => dead.includes(name));
  if (both !== undefined) throw new Refused("AliveAndDead", `'${both}' is listed as both alive and dead`);
  if (JSON.stringify(sorted([...alive, ...dead])) !== JSON.stringify(state.sharers)) {
    throw new Refused("NotAMember", "the clients listed as alive or dead are not the clients that have shared");
  }
  if (!alive.includes(party.name)) {
    throw new Refused("NotAMember", `'${party.name}' has sent its vector, but is not listed as alive`);
  }
  if (alive.length < setup.survivors) {
    throw new Refused("TooFewSurvivors", `${alive.length} clients are alive; ${setup.survivors} are needed`);
  }
  nearOnes(state.neighbours, alive, setup.threshold);
  const signature = await party.identity.sign(messages.signedSurvivors(message));
  return [{ keys: state.keys, signature }, { contributed: state, survivors: message, signature }];
}

/** Stage `unmask`: reveal one share for each client, according to the signed list; no state remains. */
export function reveal(party: Party, { contributed: before, survivors }: Confirmed, message: Unmask): Revealed {
  const signed = messages.signedSurvivors(survivors), least = before.setup.survivors;
  if (!same(messages.signedSurvivors(message.survivors), signed)) {
    throw new Refused("SplitView", "the list of survivors is not the one that this client signed");
  }
  const signers = message.signers.map((signer) => signer.name);
  checkNames(signers, "signers", { among: survivors.alive });
  if (signers.length < least) {
    throw new Refused("TooFewSurvivors", `${signers.length} survivors have signed the list; ${least} are needed`);
  }
  for (const { name, signature } of message.signers) verify(party.register.key(name), signature, signed, name);
  const shares = before.held.map(({ owner, self_mask, mask_key }) =>
    survivors.dead.includes(owner) ? { owner, of_dead: 1, value: mask_key } : { owner, of_dead: 0, value: self_mask });
  return { keys: before.keys, shares };
}

function commitments(keys: Bytes, { sender, recipient, self_mask, mask_key }: Omit<messages.Opened, "place">) {
  return {
    self_mask: messages.commitment(keys, sender, recipient, "self mask", self_mask),
    mask_key: messages.commitment(keys, sender, recipient, "mask key", mask_key),
  };
}

function checkKeys(theirs: Bytes, ours: Bytes): void {
  if (!same(theirs, ours)) {
    throw new Refused("StaleRound", "the message is for another run, round, model or set of keys");
  }
}

function nearOnes(neighbours: readonly string[], among: readonly string[], threshold: number): string[] {
  const left = new Set(among), near = neighbours.filter((name) => left.has(name));
  if (near.length < threshold) {
    throw new Refused(
      "Isolated", `${near.length} of this client's ${neighbours.length} neighbours are left; ${threshold} are needed`,
    );
  }
  return near;
}

function same(one: Bytes, other: Bytes): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

function sameAdvert(one: Advert, other: Advert): boolean {
  return same(encode(messages.ADVERT, one), encode(messages.ADVERT, other));
}
