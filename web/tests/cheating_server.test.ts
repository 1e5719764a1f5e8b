/** A server that cheats: every script ends with a named refusal; the scripts of `tests/faults/cheating_server`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Assumptions, SecureAggregation } from "../src/ring/secagg.ts";
import * as client from "../src/secure/client.ts";
import type { Why } from "../src/secure/errors.ts";
import { Refused } from "../src/secure/errors.ts";
import * as messages from "../src/secure/messages.ts";
import type { Advert, Adverts, Delivery, Setup, Survivors, Unmask } from "../src/secure/messages.ts";
import { identityKey, publicKey, sign } from "../src/secure/primitives.ts";
import { type Party, Register } from "../src/secure/register.ts";
import type { Bytes } from "../src/types.ts";
import { MEMBERS, party, secretOf, told, vectorOf } from "./masked_round.ts";

const VICTIM = "client-004", OTHER = "client-002";
const SETUP = told(messages.SETUP, "setup"), ADVERTS = told(messages.ADVERTS, "adverts");
const DELIVERY = told(messages.DELIVERY, `delivery ${VICTIM}`), SURVIVORS = told(messages.SURVIVORS, "survivors");
const UNMASK = told(messages.UNMASK, "unmask");

/** The victim, asked with something changed; each stage is reached as in the committed round. */
const join = (changed: Partial<Setup>, who: Partial<Party> = {}) =>
  client.join({ ...party(VICTIM), ...who }, { ...SETUP, ...changed });

async function share(change: (message: Adverts) => Adverts) {
  const who = party(VICTIM), [, joined] = await client.join(who, SETUP);
  return client.share(who, joined, change(ADVERTS));
}

async function contribute(change: (message: Delivery) => Delivery) {
  const who = party(VICTIM), [, joined] = await client.join(who, SETUP);
  const [, state] = await client.share(who, joined, ADVERTS);
  return client.contribute(who, state, change(DELIVERY), vectorOf(VICTIM));
}

async function confirm(change: Partial<Survivors>) {
  const [, state] = await contribute((message) => message);
  return client.confirm(party(VICTIM), state, { ...SURVIVORS, ...change });
}

async function reveal(change: (message: Unmask) => Unmask) {
  const [, state] = await confirm({});
  return client.reveal(party(VICTIM), state, change(UNMASK));
}

/** An advert with other keys; signed again by its owner, or by whoever has that secret. */
function withKeys(advert: Advert, change: Partial<Advert>, secret?: Bytes): Advert {
  const changed = { ...advert, ...change };
  return secret ? { ...changed, signature: sign(secret, messages.signedAdvert(changed, ADVERTS.session)) } : changed;
}

const others = (change: (advert: Advert, i: number) => Advert) => (message: Adverts): Adverts =>
  ({ ...message, adverts: message.adverts.map((each, i) => (each.name === VICTIM ? each : change(each, i))) });
const key = (number: number) => publicKey(new Uint8Array(32).fill(number));
const [SIGNER, ...SIGNERS] = UNMASK.signers;

/** The victim after it has joined a larger cohort, and everybody's keys. */
async function cohort(size: number, assumptions: Partial<Assumptions>) {
  const members = Array.from({ length: size }, (_, i) => `client-${String(i).padStart(3, "0")}`);
  const secure = new SecureAggregation(assumptions), { neighbours, threshold, survivors } = secure.plan(size);
  const register = new Register(new Map(members.map((name) => [name, identityKey(secretOf(name))])));
  const setup = { ...SETUP, members, neighbours, threshold, survivors };
  const each = members.map((name) => client.join({ ...party(name), register, secure }, setup));
  const joined = await Promise.all(each);
  const adverts = { session: messages.sessionOf(setup), adverts: joined.map(([advert]) => advert) };
  const at = members.indexOf(VICTIM), who = { ...party(VICTIM), register, secure };
  return { members, setup, adverts, state: joined[at][1], who };
}

const SCRIPTS: [Why, string, () => unknown][] = [
  ["CohortTooSmall", "a cohort smaller than the client takes part in",
    () => join({}, { secure: new SecureAggregation({ minClients: 20 }) })],
  ["ThresholdTooLow", "a lowered threshold", () => join({ threshold: SETUP.threshold - 1 })],
  ["ThresholdTooLow", "a threshold that no neighbours can reach", () => join({ threshold: 10 })],
  ["TooFewNeighbours", "too few neighbours", () => join({ neighbours: 5, threshold: 5 })],
  ["TooFewNeighbours", "more neighbours than planned, so that the corrupt among them have a threshold of shares",
    () => join({ neighbours: 10, threshold: 8 })],
  ["SurvivorFloorTooLow", "a lowered floor of survivors", () => join({ survivors: 2 })],
  ["SurvivorFloorTooLow", "a sum of so few that the noise of the honest ones is too little",
    () => join({ threshold: 9, survivors: 9 }, { secure: new SecureAggregation({ dropout: 0 }).under(8) })],
  ["CohortTooSmall", "a cohort whose honest clients make too little noise",
    () => join({}, { secure: new SecureAggregation().under(9) })],
  ["Malformed", "a run whose name fills the storage", () => join({ run: "x".repeat(201) })],
  ["WrongPurpose", "a round of an evaluation in which updates would be summed", () => join({ run: "run evaluate" })],
  ["WrongPurpose", "a round of training in which a client would measure", () => join({}, { purpose: "evaluate" })],
  ["DuplicateMember", "a member twice to make a small cohort look large",
    () => join({ members: [...MEMBERS.slice(0, 5), ...MEMBERS.slice(4, 9)] })],
  ["UnknownIdentity", "made-up members beside one real client",
    () => join({ members: [VICTIM, ...Array.from({ length: 9 }, (_, i) => `sybil-${i}`)] })],
  ["NotAMember", "a cohort without the client that is asked",
    () => join({ members: MEMBERS.filter((name) => name !== VICTIM) })],
  ["WrongShape", "a ring in which the sum would overflow", () => join({ bits: 4 })],
  ["Malformed", "a cohort in another order for one client", () => join({ members: [...MEMBERS].reverse() })],

  ["WrongIdentity", "swapped keys of a client the server controls",
    () => share(others((each, i) => withKeys(each, { identity: key(99), mask_key: key(i + 1) }, secretOf("server"))))],
  ["BadSignature", "swapped keys with the right identities",
    () => share(others((each, i) => withKeys(each, { mask_key: key(i + 1) })))],
  ["BadSignature", "a forged signature", () => share(others((each) => ({ ...each, signature: new Uint8Array(64) })))],
  ["BadSignature", "keys that their owners signed for another model", () => share(others((each) => {
    const signature = sign(secretOf(each.name), messages.signedAdvert(each, new Uint8Array(32)));
    return { ...each, signature };
  }))],
  ["KeysChanged", "the victim's own keys changed", () => share((message) => ({
    ...message, adverts: message.adverts.map((each) => (each.name === VICTIM ? { ...each, mask_key: key(9) } : each)),
  }))],
  ["KeysChanged", "one key for two clients",
    () => share(others((each) => (each.name === OTHER ? { ...each, share_key: ADVERTS.adverts[0].share_key } : each)))],
  ["DuplicateMember", "a client twice among the keys",
    () => share((message) => ({ ...message, adverts: [message.adverts[0], ...message.adverts] }))],
  ["TooFewSurvivors", "keys of few so that the rest of the cohort is cut off", () => share((message) => ({
    ...message, adverts: message.adverts.filter(({ name }) => MEMBERS.indexOf(name) < 5),
  }))],
  ["StaleRound", "keys replayed from another round, or of another model",
    () => share((message) => ({ ...message, session: new Uint8Array(32) }))],

  ["TooFewSurvivors", "keys of honest clients left out so that more of those to draw from are corrupt", async () => {
    const { who, state, adverts, setup } = await cohort(100, { corrupt: 0.3, dropout: 0.1 });
    assert.ok(setup.survivors < 80);
    return client.share(who, state, { ...adverts, adverts: adverts.adverts.slice(0, 80) });
  }],

  ["Isolated", "dropped neighbours so that one client is alone", async () => {
    const { who, state, adverts, members, setup } = await cohort(60, { dropout: 0.3 });
    const [, shared] = await client.share(who, state, adverts), near = shared.neighbours.map(({ name }) => name);
    const strangers = members.filter((name) => !near.includes(name));
    const sharers = [...strangers, ...near.slice(0, setup.survivors - strangers.length)].sort();
    return client.contribute(who, shared, { keys: shared.keys, sharers, received: [] }, vectorOf(VICTIM));
  }],
  ["TooFewSurvivors", "too few sharers",
    () => contribute((message) => ({ ...message, sharers: message.sharers.slice(0, 6), received: [] }))],
  ["NotAMember", "a sharer that is not in the cohort",
    () => contribute((message) => ({ ...message, sharers: [...message.sharers, "stranger"] }))],
  ["NotAMember", "shares that the victim is said to have sent to itself", () => contribute((message) => {
    const sender = ADVERTS.adverts.find(({ name }) => name === VICTIM) ?? assert.fail();
    const own = { sender, box: message.received[0].box };
    const received = [...message.received, own].sort((a, b) => (a.sender.name < b.sender.name ? -1 : 1));
    return { ...message, received };
  })],
  ["StaleRound", "shares replayed from an earlier round",
    () => contribute((message) => ({ ...message, keys: new Uint8Array(32) }))],
  ["WrongIdentity", "shares of a client with another identity", () => contribute((message) => {
    const [one, ...rest] = message.received, sender = withKeys(one.sender, { identity: key(99) }, secretOf("server"));
    return { ...message, received: [{ ...one, sender }, ...rest] };
  })],
  ["BadSignature", "shares of a client with other keys than it signed", () => contribute((message) => {
    const [one, ...rest] = message.received;
    return { ...message, received: [{ ...one, sender: { ...one.sender, mask_key: key(7) } }, ...rest] };
  })],

  ["AliveAndDead", "a node both alive and dead", () => confirm({ alive: DELIVERY.sharers, dead: [OTHER] })],
  ["TooFewSurvivors", "nearly all said to be dead",
    () => confirm({ alive: DELIVERY.sharers.slice(0, 5), dead: DELIVERY.sharers.slice(5) })],
  ["NotAMember", "the victim said to be dead though its vector was taken",
    () => confirm({ alive: DELIVERY.sharers.filter((name) => name !== VICTIM), dead: [VICTIM] })],
  ["DuplicateMember", "a survivor twice to reach the floor",
    () => confirm({ alive: [SURVIVORS.alive[0], ...SURVIVORS.alive] })],
  ["NotAMember", "a client in neither list", () => confirm({ alive: SURVIVORS.alive.slice(0, -1) })],
  ["NotAMember", "two clients whose names together look like another's", () => confirm({
    alive: [...SURVIVORS.alive.slice(0, -2), SURVIVORS.alive.slice(-2).join(",")],
  })],
  ["StaleRound", "a list of another round", () => confirm({ keys: new Uint8Array(32) })],

  ["SplitView", "another list than the one that was signed", () => reveal((message) => ({
    ...message,
    survivors: { ...SURVIVORS, alive: SURVIVORS.alive.filter((name) => name !== OTHER), dead: [OTHER, "client-006"] },
  }))],
  ["TooFewSurvivors", "split views of the survivors, half of them for each",
    () => reveal((message) => ({ ...message, signers: message.signers.slice(0, 4) }))],
  ["BadSignature", "split views made up with signatures of the other list", () => reveal((message) => {
    const other = messages.signedSurvivors({ ...SURVIVORS, alive: DELIVERY.sharers, dead: [] });
    return { ...message, signers: [{ ...SIGNER, signature: sign(secretOf(SIGNER.name), other) }, ...SIGNERS] };
  })],
  ["DuplicateMember", "one signature counted often",
    () => reveal((message) => ({ ...message, signers: message.signers.map(() => SIGNER) }))],
  ["NotAMember", "signatures of clients that are not alive", () => reveal((message) => {
    const dead = { name: "client-006", signature: sign(secretOf("client-006"), messages.signedSurvivors(SURVIVORS)) };
    return { ...message, signers: [...message.signers, dead].sort((a, b) => (a.name < b.name ? -1 : 1)) };
  })],
  ["BadSignature", "signatures of the server itself", () => reveal((message) => {
    const forged = sign(secretOf("server"), messages.signedSurvivors(SURVIVORS));
    return { ...message, signers: message.signers.map((each) => ({ ...each, signature: forged })) };
  })],
];

assert.equal(SCRIPTS.length, 46);
for (const [why, script, run] of SCRIPTS) {
  test(`${script}: ${why}`, async () => {
    await assert.rejects(async () => run(), (error) => error instanceof Refused && error.why === why);
  });
}

test("without a change, the same calls lead to the shares", async () => {
  assert.equal((await reveal((message) => message)).shares.length, DELIVERY.received.length);
});

test("a share for somebody else is not opened, and its sender is named", async () => {
  const [one, two, ...rest] = DELIVERY.received;
  const received = [{ ...one, box: two.box }, two, ...rest];
  const [said, state] = await contribute((message) => ({ ...message, received }));
  assert.deepEqual(said.complaints, [one.sender.name]);
  assert.equal(state.held.length, DELIVERY.received.length - 1);
});
