/**
 * The client's answers to the stages of masked `train` and `evaluate` messages (`hedgerow.client.secure.stages`).
 *
 * Between stages the client's secrets are kept in its notes, encrypted: to decrypt them takes the device's identity and
 * a salt that is kept with the record of answered rounds. They are removed when they are no longer needed, when the
 * server says that the round has failed, and when the client joins another round of any run.
 */

import type { SecureAggregation } from "../../ring/secagg.ts";
import { openPayload } from "../../ring/vector.ts";
import * as protocol from "../../secure/client.ts";
import { type Codec, decode, encode } from "../../secure/codec.ts";
import { Refused } from "../../secure/errors.ts";
import * as messages from "../../secure/messages.ts";
import type { Random } from "../../secure/primitives.ts";
import { type Party, Register } from "../../secure/register.ts";
import { close, reopen, type States } from "../../secure/states.ts";
import { modelHash } from "../../strategies/transforms/mask.ts";
import type { Bytes, Layout } from "../../types.ts";
import type { Content } from "../../wire/content.ts";
import { packStage, packVector, type TrainRequest, unpackStage, unpackTrain } from "../../wire/messages.ts";
import { type Stage, STAGES } from "../kinds.ts";
import type { Notes } from "../state.ts";
import type { AnsweredRounds } from "./answered_rounds.ts";
import type { Enrolment } from "./enrolment.ts";
import type { Summand } from "./summand.ts";

const KEY = "secure.round";

/** What a masked round needs of its client. */
export interface Parts {
  /** The settings that it requires. */
  readonly secure: SecureAggregation;
  readonly layout: Layout;
  /** The client's stable name. */
  readonly name: string;
  readonly enrolment: Enrolment;
  readonly notes: Notes;
  readonly answered: AnsweredRounds;
  readonly summand: Summand;
  /** Source of its secrets. */
  readonly random: Random;
  /** Gives the model of a request the constants that the request only names. */
  readonly completed: (request: TrainRequest) => Promise<TrainRequest>;
}

/** Answers the five stages of a round, and a sixth that reports its failure. */
export class SecureClient {
  readonly #parts: Parts;
  readonly #learned = new Map<string, Bytes>();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** The answer to one of `STAGES`. */
  async answer(stage: Stage, content: Content): Promise<Content> {
    const stages: Readonly<Record<Stage, (party: Party, content: Content) => Promise<Content>>> = {
      keys: this.#keys, shares: this.#shares, masked: this.#masked, survivors: this.#survivors, unmask: this.#unmask,
      failed: this.#failed,
    };
    try {
      return await stages[stage].call(this, await this.#party(), content);
    } finally {
      await this.#parts.answered.learn(this.#learned);
    }
  }

  async #keys(party: Party, content: Content): Promise<Content> {
    const setup = told(messages.SETUP, content), [advert, state] = await protocol.join(party, setup);
    await this.#parts.answered.join(setup.run, setup.round, this.#parts.summand.minSeparation);
    await this.#keep("Joined", state, setup);
    return packStage(encode(messages.ADVERT, advert));
  }

  async #shares(party: Party, content: Content): Promise<Content> {
    const before = await this.#kept("Joined"), { setup } = before;
    const [shares, state] = await protocol.share(party, before, told(messages.ADVERTS, content));
    await this.#claim(setup, "shares");
    await this.#keep("Shared", state, setup);
    return packStage(encode(messages.SHARES, shares));
  }

  /** The stage in which the client trains, or evaluates. */
  async #masked(party: Party, content: Content): Promise<Content> {
    const before = await this.#kept("Shared"), { setup } = before, { layout, summand, completed } = this.#parts;
    const delivery = told(messages.DELIVERY, content);
    protocol.checkDelivery(party, before, delivery);
    const request = await completed(unpackTrain(content, layout));
    if (request.round !== setup.round) {
      throw new Refused("StaleRound", `the model is of round ${request.round}, the keys of round ${setup.round}`);
    }
    const hash = modelHash(request.model, layout, request.seed, request.round);
    if (hash.some((byte, i) => byte !== setup.model[i])) {
      throw new Refused("WrongModel", "the model, or the seed, is not the one announced to the cohort");
    }
    const shape = party.shape(setup.members.length);
    await this.#claim(setup, "masked");
    const vector = await summand.vector(request, shape);
    const [masked, state] = await protocol.contribute(party, before, delivery, vector);
    await this.#keep("Contributed", state, setup);
    return packVector(openPayload(vector, shape), encode(messages.MASKED, masked));
  }

  async #survivors(party: Party, content: Content): Promise<Content> {
    const before = await this.#kept("Contributed"), { setup } = before;
    const [signed, state] = await protocol.confirm(party, before, told(messages.SURVIVORS, content));
    await this.#claim(setup, "survivors");
    await this.#keep("Confirmed", state, setup);
    return packStage(encode(messages.SIGNED, signed));
  }

  /** The last stage: afterwards the client keeps no secrets of this round. */
  async #unmask(party: Party, content: Content): Promise<Content> {
    const before = await this.#kept("Confirmed"), { setup } = before.contributed;
    const revealed = protocol.reveal(party, before, told(messages.UNMASK, content));
    await this.#claim(setup, "unmask");
    await this.#parts.answered.forget(setup.run);
    await this.#parts.notes.set(KEY, { done: true });
    return packStage(encode(messages.REVEALED, revealed));
  }

  /** Forget the round's secrets. */
  async #failed(_: Party, content: Content): Promise<Content> {
    const note = await this.#parts.notes.get(KEY);
    await this.#parts.notes.delete(KEY);
    if (note && !note.done) await this.#parts.answered.forget(String(note.run));
    unpackStage(content); // why it has failed is the server's to say
    return new Map();
  }

  async #party(): Promise<Party> {
    const { enrolment, name, secure, summand, random, answered } = this.#parts, first = enrolment.trustOnFirstUse;
    const known = new Map([...(first ? await answered.learned() : []), ...enrolment.pinned]);
    const register = new Register(known, first, (other, key) => this.#learned.set(other, key));
    const { shape, purpose } = summand;
    return { name, identity: enrolment.identity, register, secure, shape, random, purpose };
  }

  async #claim({ run, round }: messages.Setup, stage: Stage): Promise<void> {
    await this.#parts.answered.claim(run, round, STAGES.indexOf(stage));
  }

  async #keep<Kind extends keyof States>(
    kind: Kind, state: States[Kind], { run, round }: messages.Setup,
  ): Promise<void> {
    const { enrolment, answered, notes } = this.#parts;
    const { sealed } = await close(kind, state, enrolment.identity, await answered.salt(run, round));
    await notes.set(KEY, { kind, sealed, done: false, run, round });
  }

  async #kept<Kind extends keyof States>(kind: Kind): Promise<States[Kind]> {
    const { enrolment, answered, notes, summand } = this.#parts, note = await notes.get(KEY);
    if (!note) throw new Refused("OutOfOrder", "no round of secure aggregation is in progress here");
    if (note.done) {
      throw new Refused("AlreadyAnswered", "this client has revealed its shares, and keeps nothing of that round");
    }
    const salt = await answered.salt(String(note.run), Number(note.round));
    const closed = { kind: note.kind as keyof States, sealed: note.sealed as Bytes };
    const state = await reopen(kind, closed, enrolment.identity, salt);
    protocol.checkPurpose(summand.purpose, setupOf(state));
    return state;
  }
}

function setupOf(state: States[keyof States]): messages.Setup {
  return "contributed" in state ? state.contributed.setup : state.setup;
}

function told<T>(kind: Codec<T>, content: Content): T {
  return decode(kind, unpackStage(content));
}
