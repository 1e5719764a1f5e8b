/** A phone as its page's worker holds it: it joins, takes part, and leaves. */

import { UPDATES } from "./client/kinds.ts";
import { Backoff, type Calling, Connection, Counted, type Fetch } from "./node/connection.ts";
import { Device } from "./node/device.ts";
import { type Invitation, join, leave } from "./node/join.ts";
import { type Answering, Node, type Telling } from "./node/node.ts";
import { rotate } from "./node/rotate.ts";
import { SENTENCES } from "./node/sentences.ts";
import type { Vault } from "./node/store.ts";
import { alone, browserLocks, free, InUse, type Locks } from "./node/tabs.ts";
import { type Ask, Delivered } from "./promotion/delivered.ts";
import type { Promotion } from "./promotion/lineage.ts";
import type { Bytes } from "./types.ts";
import { type Content, MetricRecord } from "./wire/content.ts";
import { METRICS } from "./wire/fields.ts";

export type { Invitation };

export type PhoneState = "joining" | "waiting" | "training" | "sending" | "offline" | "refused" | "left" | "revoked";

/** What a page is told; each is the `detail` of an event of the type `phone`. */
export type PhoneEvent =
  | { readonly kind: "state"; readonly state: PhoneState; readonly sentence: string }
  | { readonly kind: "round"; readonly run: string; readonly round: number; readonly loss?: number;
      readonly accuracy?: number }
  /** Totals of all calls' bodies since the phone has joined. */
  | { readonly kind: "bytes"; readonly up: number; readonly down: number }
  /** A promoted model was fetched and checked. */
  | { readonly kind: "model"; readonly hash: string };

/** What a phone is made of. */
export interface PhoneParts {
  readonly store: Vault;
  /** What answers messages, for a device that has joined; `ask` fetches from its coordinator. */
  readonly answering: (device: Device, ask: Ask) => Answering;
  /** Whether its owner takes promoted models. */
  readonly takesModels: () => Promise<boolean>;
  /** The browser's own by default. */
  readonly fetch?: Fetch;
  readonly locks?: Locks;
  readonly backoff?: Backoff;
}

const LOCK = "hedgerow";

/** A phone that has joined. */
export class Phone {
  /** Tells a page what happens. */
  readonly events = new EventTarget();
  readonly #parts: PhoneParts;
  readonly #calling: Calling;
  #device: Device;
  #running: Promise<unknown> = Promise.resolve();
  #stop = new AbortController();
  #said = "";

  private constructor(parts: PhoneParts, calling: Calling, device: Device) {
    this.#parts = parts;
    this.#calling = calling;
    this.#device = device;
    const { up, down } = device.enrolled;
    Object.assign(calling.counted, { up, down });
  }

  /**
   * Make the phone's keys, and have the coordinator let it in. Throws `NotJoined` if it does not, `Unreachable` if it
   * does not answer, and `InUse` if the phone takes part in another tab.
   */
  static async join(invitation: Invitation, parts: PhoneParts): Promise<Phone> {
    const calling = callingOf(parts);
    const device = await free(parts.locks ?? browserLocks(), LOCK, () => join(invitation, parts.store, calling));
    if (!device) throw new InUse(SENTENCES.second());
    return new Phone(parts, calling, device);
  }

  /** A phone that has joined before; nothing if none has. */
  static async open(parts: PhoneParts): Promise<Phone | undefined> {
    const device = await Device.open(parts.store);
    return device && new Phone(parts, callingOf(parts), device);
  }

  /** What the federation calls it. */
  get name(): string {
    return this.#device.name;
  }

  /** The coordinator's address. */
  get address(): string {
    return this.#device.enrolled.address;
  }

  /** Take part until the signal, or until the phone has left; one tab at a time does, and others wait. */
  async run(signal: AbortSignal): Promise<void> {
    this.#stop = new AbortController();
    const ended = AbortSignal.any([signal, this.#stop.signal]), locks = this.#parts.locks ?? browserLocks();
    const second = () => this.#state("refused", SENTENCES.second());
    const running = alone(locks, LOCK, ended, second, async () => {
      if (!await this.#live(ended)) this.#state("left", SENTENCES.cleared());
    });
    this.#running = running.catch(() => {});
    await running;
  }

  /**
   * Leave the federation: the coordinator is told, and keys and state are erased. Throws `Unreachable` if it does not
   * answer, and nothing is erased, unless `anyway`; and `InUse` if the phone takes part in another tab.
   */
  async leave(anyway = false): Promise<void> {
    this.#stop.abort();
    await this.#running;
    const locks = this.#parts.locks ?? browserLocks();
    const done = await free(locks, LOCK, async () => {
      await leave(this.#device, this.#calling, anyway);
      return true;
    });
    if (!done) throw new InUse(SENTENCES.second());
    this.#state("left", SENTENCES.left());
  }

  /** Give the phone a new key, and keep its identity; it must not take part at that time. Throws as `rotate`. */
  async rotate(): Promise<void> {
    this.#device = await rotate(this.#device, this.#calling);
  }

  /** The promoted model and what is known of it; nothing before there is one. */
  async model(): Promise<{ promotion: Promotion; file: Bytes } | undefined> {
    const delivered = new Delivered(this.#parts.store), [promotion] = await delivered.standing();
    const file = promotion && await delivered.model(promotion);
    return file && { promotion, file };
  }

  /** Whether it ended because it should, and not because the browser has removed what it kept. */
  async #live(signal: AbortSignal): Promise<boolean> {
    const device = await Device.open(this.#parts.store); // as another tab may have left it
    if (!device) return false;
    this.#device = device;
    const ask: Ask = (path) =>
      new Connection(this.address, device.key, this.#calling).call(path, new Uint8Array(0), { method: "GET", signal });
    const answering = this.#parts.answering(device, ask);
    return await new Node(device, this.#calling, answering, this.#telling(), this.#parts.backoff).run(signal);
  }

  #telling(): Telling {
    return {
      state: (state, sentence) => this.#state(state, sentence),
      answered: (kind, run, round, answer) => this.#round(kind, run, round, answer),
      counted: () => this.#tell({ kind: "bytes", ...this.#calling.counted }),
      takes: () => this.#parts.takesModels(),
      has: ({ model }) => this.#tell({ kind: "model", hash: model }),
      left: (sentence) => this.#state("waiting", sentence),
    };
  }

  #round(kind: string, run: string, round: string, answer: Content): void {
    if (!UPDATES.includes(kind)) return; // a masked round has other stages too
    const told = answer.get(METRICS), metrics = told instanceof MetricRecord ? told : new MetricRecord();
    const [loss, accuracy] = ["loss", "accuracy"].map((name) => metrics.get(`metric.${name}`));
    this.#tell({
      kind: "round", run, round: Number(round) || 0,
      ...(typeof loss === "number" ? { loss } : {}), ...(typeof accuracy === "number" ? { accuracy } : {}),
    });
  }

  #state(state: PhoneState, sentence: string): void {
    if (sentence === this.#said) return;
    this.#said = sentence;
    this.#tell({ kind: "state", state, sentence });
  }

  #tell(detail: PhoneEvent): void {
    this.events.dispatchEvent(new CustomEvent("phone", { detail }));
  }
}

function callingOf({ fetch }: PhoneParts): Calling {
  return { fetch: fetch ?? ((address, how) => globalThis.fetch(address, how)), counted: new Counted() };
}
