/** The life of a node: it connects, polls for messages, answers them, and recovers (`hedgerow.node.node`). */

import { OPENINGS } from "../client/kinds.ts";
import { RECORD, UNKNOWN } from "../recipe/announcement.ts";
import { Refused } from "../secure/errors.ts";
import { type Bytes, PayloadError } from "../types.ts";
import { inEnvelope, opened, READS, REPLY, small } from "../wire/bundle.ts";
import { decode } from "../wire/codec.ts";
import { ConfigRecord, type Content } from "../wire/content.ts";
import { unpack } from "../wire/objects.ts";
import type { Message } from "../wire/protobuf.ts";
import { Backoff, type Calling, Connection, Denied, isRight, Stopped, Unreachable } from "./connection.ts";
import type { Device } from "./device.ts";
import { Fleet, INTERVAL, Lost, type Pulled } from "./fleet.ts";
import { takeRegister } from "./identities.ts";
import { readAnswer } from "./join.ts";
import { Outbox, type Pending } from "./outbox.ts";
import { type Following, PromotedModel } from "./promoted.ts";
import { replyTo } from "./reply.ts";
import { SENTENCES } from "./sentences.ts";
import { pause, untilOnline } from "./waiting.ts";

const QUICK = 0.2, SLOW = 3, QUICK_FOR = 30;
const GOODBYE_SECONDS = 5, REGISTER_SECONDS = 10, SINCE_SECONDS = 5;
/** Attempts to answer a message on which the server itself fails. */
const ATTEMPTS = 5;

/** Answers messages of any run; `hedgerow.node.responder` says how. */
export interface Answering {
  /** The key of the answer, which is then in the outbox. Throws `Refused` and `PayloadError`, which may be sent. */
  answer(kind: string, round: string, content: Content): Promise<string>;
}

/** The browser has removed what the device kept. */
class Cleared extends Error {}

/** What a node does, for a person. */
export interface Telling extends Following {
  state(state: "waiting" | "training" | "sending" | "offline" | "refused" | "revoked", sentence: string): void;
  answered(kind: string, run: string, round: string, answer: Content): void;
  counted(): void;
}

/** A device that takes part, until it is stopped. */
export class Node {
  readonly #device: Device;
  readonly #calling: Calling;
  readonly #answering: Answering;
  readonly #telling: Telling;
  readonly #backoff: Backoff;
  readonly #outbox: Outbox;
  readonly #promoted: PromotedModel;
  #failed = 0;
  #held: Pulled | undefined;
  #registerUntil = 0;

  constructor(
    device: Device, calling: Calling, answering: Answering, telling: Telling, backoff = new Backoff(),
  ) {
    this.#device = device;
    this.#calling = calling;
    this.#answering = answering;
    this.#telling = telling;
    this.#backoff = backoff;
    this.#outbox = new Outbox(device.store);
    this.#promoted = new PromotedModel(device.store, telling);
  }

  /**
   * Take part until the signal; waits while the network fails. Unfinished work is repeated next time. Returns false if
   * the browser has removed what the device kept, and it can take part no more.
   */
  async run(signal: AbortSignal): Promise<boolean> {
    await this.#waitForClock(signal);
    while (!signal.aborted) {
      const connection = this.#connection();
      const fleet = new Fleet(connection, BigInt(this.#device.enrolled.node), signal);
      try {
        await this.#check();
        await this.#activate(fleet);
        await this.#updateRegister(signal);
        this.#waiting();
        await this.#serve(fleet, signal);
        if (signal.aborted) await this.#goodbye(fleet.node);
      } catch (error) {
        if (error instanceof Cleared) return false;
        if (signal.aborted) await this.#goodbye(fleet.node);
        else await this.#recover(error, connection.ahead, signal);
      }
    }
    return true;
  }

  #connection(seconds?: number): Connection {
    return new Connection(this.#device.enrolled.address, this.#device.key, this.#calling, seconds);
  }

  #waiting(): void {
    this.#telling.state("waiting", SENTENCES.waiting(this.#device.name));
  }

  /** Refuse to go on with nothing to go on from: a browser may remove what a page keeps at any time. */
  async #check(): Promise<void> {
    if (!await this.#device.isKept()) throw new Cleared();
  }

  /** Say what is wrong, and wait before the next attempt. */
  async #recover(error: unknown, ahead: number | undefined, signal: AbortSignal): Promise<void> {
    const { message } = error as Error;
    let least = 0;
    if (error instanceof Unreachable) {
      least = error.seconds;
      this.#telling.state("offline", SENTENCES.offline(message));
    } else if (error instanceof Denied && error.status === 401) {
      if (ahead === undefined || isRight(ahead)) this.#telling.state("revoked", SENTENCES.revoked());
      else this.#telling.state("refused", SENTENCES.clock(muchOf(ahead)));
    } else if (error instanceof Denied) this.#telling.state("refused", SENTENCES.denied(message));
    else if ((error as Error).name === "QuotaExceededError") this.#telling.state("refused", SENTENCES.full(message));
    else this.#telling.state("refused", SENTENCES.failed(message));
    await untilOnline(this.#backoff.seconds(least), signal);
  }

  /** Wait until the clock has passed the day on which the device joined: calls are signed with the time. */
  async #waitForClock(signal: AbortSignal): Promise<void> {
    const { since } = this.#device.enrolled;
    for (let told = false; Date.now() / 1000 < since - SINCE_SECONDS && !signal.aborted; told = true) {
      if (!told) this.#telling.state("refused", SENTENCES.before(new Date().toDateString()));
      await pause(1, signal);
    }
  }

  /**
   * Report that the node is online. A known node is counted again from its next heartbeat. It is not deactivated first,
   * because the last message that it was sent would then count as unanswered.
   */
  async #activate(fleet: Fleet): Promise<void> {
    if (fleet.node) {
      try {
        if (await fleet.heartbeat()) return;
      } catch (error) {
        if (!(error instanceof Denied)) throw error; // not known as this node
      }
    }
    await fleet.activate(this.#device.key.public);
    await this.#device.change({ node: String(fleet.node) });
  }

  /** Fetch the register of identities; one that cannot be trusted changes nothing. */
  async #updateRegister(signal: AbortSignal): Promise<void> {
    if (performance.now() / 1000 < this.#registerUntil) return;
    const { enrolled, store } = this.#device, call = { method: "GET", signal } as const;
    try {
      const answer = readAnswer(await this.#connection().call("/register", new Uint8Array(0), call));
      await this.#device.change({ administrator: await takeRegister(store, enrolled, answer) });
      this.#registerUntil = performance.now() / 1000 + REGISTER_SECONDS;
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof Refused || error instanceof Denied)) throw error;
    }
  }

  /** Answer messages until the node is stopped or the server no longer counts it. */
  async #serve(fleet: Fleet, signal: AbortSignal): Promise<void> {
    const gone = new AbortController(), ended = AbortSignal.any([signal, gone.signal]);
    const beating = this.#beat(fleet.node, gone, ended);
    try {
      for (const come of await this.#outbox.pending()) await this.#finish(fleet, come, signal);
      let last = performance.now() / 1000;
      while (!ended.aborted) {
        this.#held ??= await fleet.pull();
        await this.#check();
        if (!this.#held) {
          this.#backoff.reset();
          if (await this.#promoted.follow(fleet)) continue;
          await pause(pauseOf(fleet.pace, performance.now() / 1000 - last), ended);
          continue;
        }
        const come = await this.#outbox.receive(this.#held.message, this.#held.tree); // where it is full, again later
        this.#held = undefined;
        await this.#finish(fleet, come, signal);
        await this.#promoted.follow(fleet); // in quick rounds, every pull brings a message
        last = performance.now() / 1000;
        this.#backoff.reset();
      }
    } finally {
      gone.abort();
      await beating;
    }
  }

  /** Send heartbeats while the node works, on a separate connection. */
  async #beat(node: bigint, gone: AbortController, ended: AbortSignal): Promise<void> {
    const fleet = new Fleet(this.#connection(INTERVAL / 3), node, ended);
    for (;;) {
      await pause(INTERVAL / 3, ended);
      if (ended.aborted) return;
      try {
        if (!await fleet.heartbeat()) gone.abort();
      } catch {
        // The next call of the node itself says what is wrong.
      }
    }
  }

  /** Answer a message, and make sure that the server has the answer. */
  async #finish(fleet: Fleet, come: Pending, signal: AbortSignal): Promise<void> {
    const about = come.message.metadata as Message, run = about.run_id as bigint, round = about.group_id as string;
    try {
      const settled = come.made ? come : await this.#answered(fleet, come, signal);
      if (!settled.error) this.#telling.state("sending", SENTENCES.sending(round));
      const answer = settled.answer ? await this.#outbox.answer(settled.answer) : undefined;
      const { error, made, bundled, reply } = settled;
      await fleet.push(replyTo(come.message, { answer, error: error || undefined, made, bundled, reply }, fleet.node));
      if (!inEnvelope(come.id)) await fleet.confirm(run, come.id);
      if (!settled.error) this.#waiting();
    } catch (error) {
      if (error instanceof Unreachable) {
        this.#failed = error.status === 500 ? this.#failed + 1 : 0;
        if (this.#failed < ATTEMPTS || !await isWell(fleet)) throw error;
      } else if (!(error instanceof Denied) && !(error instanceof Lost)) throw error;
      // The run is over, or the server has restarted without it: nobody is waiting for this answer.
    }
    this.#failed = 0;
    await this.#outbox.done(come);
    const { up, down } = this.#calling.counted;
    await this.#device.change({ up, down });
    this.#telling.counted();
  }

  /** Work on a message; its answer is kept when this returns. */
  async #answered(fleet: Fleet, come: Pending, signal: AbortSignal): Promise<Pending> {
    const about = come.message.metadata as Message, kind = about.message_type as string;
    const round = about.group_id as string;
    if (OPENINGS.includes(kind)) await this.#updateRegister(signal);
    if (kind !== "query") this.#telling.state("training", SENTENCES.training(round));
    try {
      const content = opened(await contentOf(fleet, come), RECORD), told = content.get(RECORD);
      const said = told instanceof ConfigRecord ? told : new ConfigRecord();
      const reply = inEnvelope(come.id) && inEnvelope(said.get(REPLY)) ? String(said.get(REPLY)) : "";
      const key = await this.#answering.answer(kind, round, content);
      const settled = await this.#outbox.settle({ ...come, bundled: said.has(READS), reply }, { answer: key });
      const answer = await this.#outbox.answer(key) as Bytes;
      this.#telling.answered(kind, String(said.get("run") ?? ""), round, decode(answer));
      return settled;
    } catch (error) {
      if (!(error instanceof PayloadError) && !(error instanceof Refused)) throw error;
      const text = error instanceof Refused ? reasonOf(error) : `PayloadError: ${error.message}`;
      const sentence = text.startsWith("OtherVersion") ? SENTENCES.version() : SENTENCES.refused(text);
      this.#telling.state("refused", sentence);
      return await this.#outbox.settle(come, { error: text });
    }
  }

  async #goodbye(node: bigint): Promise<void> {
    try {
      await new Fleet(this.#connection(GOODBYE_SECONDS), node).deactivate();
    } catch {
      // The server notices by itself that the node is gone.
    }
  }
}

/** The text that is sent for a refusal. */
export function reasonOf({ why, message }: Refused): string {
  return why === "UnknownDescription" ? UNKNOWN : `${why}: ${message}`;
}

/** What a message holds, in its envelope or in objects that are fetched. Throws `PayloadError`, `Lost`. */
async function contentOf(fleet: Fleet, { id, message, tree }: Pending): Promise<Content> {
  if (inEnvelope(id)) return small(message.content as Bytes ?? new Uint8Array(0));
  const children = tree.children as Message[];
  if (children.length !== 1) {
    throw new PayloadError(`the message has ${children.length} contents; it must have one`);
  }
  const [root] = children, run = (message.metadata as Message).run_id as bigint; // its own object says no more
  return unpack(root.object_id as string, await fleet.fetch(run, root));
}

/** Whether the server answers other calls: if its disk is full, all calls that must write fail. */
async function isWell(fleet: Fleet): Promise<boolean> {
  try {
    return await fleet.heartbeat();
  } catch (error) {
    if (error instanceof Stopped) throw error;
    return false;
  }
}

/** Seconds until the next poll: what the server says, or longer and longer if no messages come. */
function pauseOf(pace: number | undefined, idle: number): number {
  if (pace !== undefined) return pace;
  return idle < QUICK_FOR ? QUICK : Math.min(SLOW, QUICK * idle / QUICK_FOR);
}

function muchOf(ahead: number): string {
  const much = Math.abs(ahead) < 100 ? `${Math.abs(ahead).toFixed(0)} s` : `${(Math.abs(ahead) / 60).toFixed(0)} min`;
  return `${much} ${ahead > 0 ? "ahead of" : "behind"}`;
}
