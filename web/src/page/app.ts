/** The page: which screen is shown, and what all of them share. */

import { Entries } from "../data/entries.ts";
import { IndexedStore } from "../node/indexed_store.ts";
import { OwnSchema } from "../recipe/own_data.ts";
import { readJson } from "../wire/text.ts";
import { el } from "./dom.ts";
import { checked, type Invitation } from "./invitation.ts";
import { Link, WorkerError } from "./link.ts";
import { NOTHING, type Shown } from "./messages.ts";
import { type Build, lookForNewer } from "./offline/pages_version.ts";
import { consentScreen } from "./screens/consent.ts";
import { dataScreen } from "./screens/data.ts";
import { leaveScreen } from "./screens/leave.ts";
import { missingScreen } from "./screens/missing.ts";
import { modelScreen } from "./screens/model.ts";
import { roundScreen } from "./screens/round.ts";
import { aside, type Screen } from "./screens/screen.ts";
import type { Texts } from "./texts/texts.ts";

const SCREENS = { round: roundScreen, data: dataScreen, model: modelScreen, leave: leaveScreen };

/** Parts of the page once the phone has joined. */
export type Part = keyof typeof SCREENS;

const INVITATION = "page/invitation";
const SHOWN_FOR = 6000; // milliseconds, and more for a longer text

export class App {
  readonly texts: Texts;
  readonly store = new IndexedStore();
  readonly entries = new Entries(this.store);
  readonly link: Link;
  shown: Shown = NOTHING;
  /** Of which build this page is. */
  build: Build | undefined;
  /** Whether it opens without a network. */
  offline = false;
  readonly #main: HTMLElement;
  readonly #nav: HTMLElement;
  readonly #told: HTMLElement;
  #invitation: Invitation | undefined;
  #part: Part = "round";
  #until: ReturnType<typeof setTimeout> | undefined;
  #screen: Screen | undefined;

  constructor(texts: Texts, worker: Worker) {
    this.texts = texts;
    this.link = new Link(worker, (shown) => this.#show(shown));
    this.#main = document.querySelector("main") as HTMLElement;
    this.#nav = document.querySelector("nav") as HTMLElement;
    this.#told = document.querySelector("#told") as HTMLElement;
    this.#nav.setAttribute("aria-label", texts.nav.label);
    document.documentElement.lang = texts.language;
  }

  /** Begin with the invitation of the address, or with what was kept. */
  async begin(invited: Invitation | undefined): Promise<void> {
    try {
      if (invited) await this.store.put(new Map([[INVITATION, utf8(JSON.stringify(invited))]]));
      const kept = await this.store.get(INVITATION);
      this.#invitation = kept && checked(JSON.parse(new TextDecoder().decode(kept)));
    } catch (error) {
      this.#main.replaceChildren(el("p", { textContent: this.texts.noStorage, className: "bad" }));
      throw error;
    }
    this.#show(await this.link.call("open"));
    if (!this.shown.phone) return;
    if (invited) this.tell(this.texts.consent.already);
    await this.#forget();
  }

  /** Follow an invitation that somebody has pasted, or opened while the page is open. */
  async invite(invitation: Invitation): Promise<void> {
    if (this.shown.phone) return this.tell(this.texts.consent.already);
    await this.store.put(new Map([[INVITATION, utf8(JSON.stringify(invitation))]]));
    this.#invitation = invitation;
    this.#change();
  }

  /** Forget the invitation. */
  async decline(): Promise<void> {
    await this.#forget();
    this.#change();
  }

  /** The phone has joined, or left: begin with the part that comes next. */
  async settled(shown: Shown, part: Part): Promise<void> {
    await this.#forget();
    this.#part = part;
    this.shown = shown;
    this.#change();
    this.#main.querySelector("h1")?.focus();
  }

  go(part: Part): void {
    this.#part = part;
    this.#change();
  }

  /** Say something once, also to a screen reader. */
  tell(text: string): void {
    clearTimeout(this.#until);
    this.#told.textContent = text;
    if (text) this.#until = setTimeout(() => this.tell(""), SHOWN_FOR + text.length * 60);
  }

  /** Do something, and say what went wrong. */
  async attempt(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof WorkerError)) console.error(error);
      this.tell(this.texts.failed((error as Error).message));
    }
  }

  /** The schema that a run has asked for last; nothing before that. */
  get schema(): OwnSchema | undefined {
    return this.shown.schema && OwnSchema.fromJson(readJson(JSON.stringify(this.shown.schema)));
  }

  async #forget(): Promise<void> {
    this.#invitation = undefined;
    await this.store.put(new Map([[INVITATION, undefined]]));
  }

  #show(shown: Shown): void {
    const before = this.shown;
    this.shown = shown;
    const other = before.phone?.name !== shown.phone?.name || before.elsewhere !== shown.elsewhere
      || before.gone !== shown.gone;
    // It may be too old for the server.
    if (shown.state === "refused" && shown.sentence !== before.sentence) void lookForNewer();
    if (other || !this.#screen) this.#change();
    else this.#screen.update?.();
  }

  #change(): void {
    this.#screen?.end?.();
    this.#screen = this.#made();
    this.#main.replaceChildren(...this.#screen.elements);
    this.#showNav();
    this.#screen.update?.();
  }

  #made(): Screen {
    if (this.shown.elsewhere) return aside(this.texts.elsewhere);
    if (this.shown.phone) return SCREENS[this.#part](this);
    if (this.#invitation) return consentScreen(this, this.#invitation);
    return missingScreen(this);
  }

  #showNav(): void {
    this.#nav.hidden = !this.shown.phone || this.shown.elsewhere;
    const parts = Object.keys(SCREENS) as Part[];
    this.#nav.replaceChildren(...parts.map((part) => el("button", {
      type: "button", textContent: this.texts.nav[part], on: { click: () => this.#chosen(part) },
      aria: part === this.#part ? { current: "page" } : {},
    })));
  }

  #chosen(part: Part): void {
    this.tell("");
    this.go(part);
    (this.#nav.querySelector("[aria-current]") as HTMLElement | null)?.focus();
  }
}

function utf8(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(new TextEncoder().encode(text));
}
