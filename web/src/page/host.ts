/** The phone's life in the worker: what it does when the page asks, and what the page is to show. */

import { inOneLine } from "../legible.ts";
import type { Phone, PhoneEvent } from "../phone.ts";
import { SENTENCES } from "../node/sentences.ts";
import { readTable, type Vault, written } from "../node/store.ts";
import type { OwnSchema } from "../recipe/own_data.ts";
import type { Invitation } from "./invitation.ts";
import { type Account, NOTHING, type RoundLine, type Shown } from "./messages.ts";
import { type Rules, STRICT } from "./rules.ts";

const RULES = "page/rules", TAKING = "page/taking", ROUNDS = "page/rounds", SCHEMA = "page/schema";
const MOST_ROUNDS = 500, LONGEST = 600; // characters of a sentence

/** How a phone is made, which only the browser's worker can. */
export interface Makes {
  readonly store: Vault;
  join(invitation: Invitation): Promise<Phone>;
  open(): Promise<Phone | undefined>;
  account(rules: Rules): Promise<Account>;
}

/** Keeps one phone, and tells of it. */
export class Host {
  readonly #makes: Makes;
  readonly #told: (shown: Shown) => void;
  #phone: Phone | undefined;
  #running: AbortController | undefined;
  #before: Promise<void> = Promise.resolve();
  #shown = NOTHING;

  constructor(makes: Makes, told: (shown: Shown) => void) {
    this.#makes = makes;
    this.#told = told;
  }

  /** The phone. Throws `RangeError` before it has joined. */
  get phone(): Phone {
    if (!this.#phone) throw new RangeError("this phone has not joined");
    return this.#phone;
  }

  /** The phone that has joined before, if there is one; it goes on where it took part. */
  async open(): Promise<Shown> {
    this.#phone ??= await this.#makes.open();
    if (!this.#phone) return this.#shown;
    const { store } = this.#makes;
    const kept = [RULES, TAKING, ROUNDS, SCHEMA].map((name) => readTable(store, name));
    const [rules, taking, rounds, schema] = await Promise.all(kept);
    await this.#has(this.#phone, {
      rules: (rules ?? STRICT) as unknown as Rules, rounds: (rounds?.rounds ?? []) as RoundLine[], schema,
    });
    if (taking?.taking === true) await this.take(true);
    return this.#shown;
  }

  /** The rules are kept before anybody is asked to let the phone in. */
  async join(invitation: Invitation, rules: Rules, schema?: Shown["schema"]): Promise<Shown> {
    const known = schema ? [[SCHEMA, written(schema)] as const] : [];
    await this.#makes.store.put(new Map([[RULES, written(rules)], ...known]));
    await this.#has(await this.#makes.join(invitation), { rules, schema });
    return this.#shown;
  }

  /** Take part, or pause. */
  async take(part: boolean): Promise<void> {
    await this.#makes.store.put(new Map([[TAKING, written({ taking: part })]]));
    this.#show({ taking: part, ...(part ? {} : { state: "paused", sentence: "" }) });
    if (!part) return this.#running?.abort();
    if (this.#running && !this.#running.signal.aborted) return;
    const running = (this.#running = new AbortController());
    await this.#before;
    this.#before = this.#run(running).catch((error: Error) => {
      this.#show({ state: "refused", sentence: error.message });
    });
  }

  async #run(running: AbortController): Promise<void> {
    await this.#phone?.run(running.signal);
    if (this.#running === running) this.#running = undefined;
  }

  async leave(anyway: boolean): Promise<void> {
    await this.#phone?.leave(anyway);
    this.#phone = undefined;
    this.#shown = NOTHING;
    this.#show({ state: "left" });
  }

  async account(): Promise<Account> {
    return await this.#makes.account(this.#shown.rules ?? STRICT);
  }

  /** The rules that the phone keeps. */
  async rules(): Promise<Rules> {
    return ((await readTable(this.#makes.store, RULES)) ?? STRICT) as unknown as Rules;
  }

  /** Something for the owner's eyes alone. */
  note(note: string): void {
    this.#show({ note: inOneLine(note, LONGEST) });
  }

  /** A run has asked for data of this schema. */
  asked(schema: OwnSchema): void {
    const found = JSON.parse(JSON.stringify(schema)) as Record<string, unknown>;
    if (JSON.stringify(found) === JSON.stringify(this.#shown.schema)) return;
    this.#show({ schema: found });
    void this.#makes.store.put(new Map([[SCHEMA, written(found)]]));
  }

  async #has(phone: Phone, known: Partial<Shown>): Promise<void> {
    this.#phone = phone;
    phone.events.addEventListener("phone", (event) => this.#hear((event as CustomEvent<PhoneEvent>).detail));
    const model = await phone.model();
    this.#show({ phone: { name: phone.name, address: phone.address }, model: model?.promotion.model, ...known });
  }

  #hear(event: PhoneEvent): void {
    switch (event.kind) {
      case "state": return this.#state(event);
      case "bytes": return this.#show({ up: event.up, down: event.down });
      case "model": return this.#show({ model: event.hash });
      case "round": return this.#round(event);
    }
  }

  #state({ state, sentence }: PhoneEvent & { kind: "state" }): void {
    if (sentence === SENTENCES.cleared()) {
      this.#phone = undefined;
      this.#shown = { ...NOTHING, gone: true };
    }
    this.#show({ state, sentence: inOneLine(sentence, LONGEST), elsewhere: sentence === SENTENCES.second() });
  }

  /** A round's answers, one after another, make one line. */
  #round({ run, round, loss, accuracy }: PhoneEvent & { kind: "round" }): void {
    const before = this.#shown.rounds.find((line) => line.run === run && line.round === round);
    const line = { run, round, loss: loss ?? before?.loss, accuracy: accuracy ?? before?.accuracy };
    const others = this.#shown.rounds.filter((each) => each !== before);
    const rounds = [...others, line].slice(-MOST_ROUNDS);
    this.#show({ rounds });
    void this.#makes.store.put(new Map([[ROUNDS, written({ rounds })]]));
  }

  #show(changed: Partial<Shown>): void {
    this.#shown = { ...this.#shown, ...changed };
    this.#told(this.#shown);
  }
}
