/** The phone's own data: added, listed, deleted. */

import type { Entry, Kept, Kind } from "../../data/entries.ts";
import { fitted, kindsFor } from "../../data/fitted.ts";
import { picturePixels } from "../../data/pixels.ts";
import { VALUES } from "../../data/motion.ts";
import { Unfit } from "../../data/unfit.ts";
import type { App } from "../app.ts";
import { type Way, wayFor } from "../capture/capture.ts";
import { labels } from "../capture/labels.ts";
import { thumbnail } from "../capture/thumbnail.ts";
import { button, el, opening } from "../dom.ts";
import { WorkerError } from "../link.ts";
import type { Texts } from "../texts/texts.ts";
import type { Screen } from "./screen.ts";

const KINDS: readonly Kind[] = ["drawn", "moved", "picture", "table"];
const SHOWN = 200; // entries of the list that are shown at once, the newest

export function dataScreen(app: App): Screen {
  const screen = new DataScreen(app);
  return { elements: screen.elements, update: () => screen.update(), end: () => screen.end() };
}

class DataScreen {
  readonly elements: readonly Node[];
  readonly #app: App;
  readonly #texts: Texts;
  readonly #tabs = el("div", { className: "row tabs" });
  readonly #adding = el("div", { className: "adding" });
  readonly #wrong = el("p", { className: "bad", aria: { role: "alert" } });
  readonly #count = el("p", { className: "note" });
  readonly #testing = el("p", { className: "note" });
  readonly #list = el("ul", { className: "entries" });
  #way: Way | undefined;
  #schema = "";

  constructor(app: App) {
    this.#app = app;
    this.#texts = app.texts;
    const { data } = app.texts;
    this.elements = [
      opening(data.title, el("p", { textContent: data.intro }), this.#tabs, this.#adding, this.#wrong),
      el("section", {}, this.#count, this.#testing, this.#list),
    ];
    this.#begin();
    void app.attempt(() => this.#relist());
  }

  /** A run has asked for other data than before. */
  update(): void {
    if (JSON.stringify(this.#app.shown.schema ?? null) === this.#schema) return;
    this.#begin();
    void this.#app.attempt(() => this.#relist());
  }

  end(): void {
    this.#way?.end?.();
  }

  #begin(): void {
    this.#schema = JSON.stringify(this.#app.shown.schema ?? null);
    const schema = this.#app.schema, kinds = schema ? kindsFor(schema) : KINDS;
    this.#tabs.replaceChildren(...(kinds.length > 1 ? kinds.map((kind) => this.#tab(kind)) : []));
    if (kinds.length) this.#choose(kinds[0]);
    else this.#adding.replaceChildren();
  }

  #tab(kind: Kind): HTMLButtonElement {
    const made = button(this.#texts.data.kinds[kind], () => this.#choose(kind));
    made.dataset.kind = kind;
    return made;
  }

  #choose(kind: Kind): void {
    this.#way?.end?.();
    for (const tab of this.#tabs.querySelectorAll("button")) {
      tab.setAttribute("aria-pressed", String(tab.dataset.kind === kind));
    }
    const { data } = this.#texts, schema = this.#app.schema;
    const asked = kind === "table" ? undefined : labels(kind, schema, this.#texts);
    const way = wayFor(kind, this.#texts, () => asked?.label() ?? "", (entries) => void this.#keep(() => entries));
    const { take } = way;
    this.#way = way;
    const needs = kind === "table" && schema ? data.tableNeeds(schema.columns, schema.label) : "";
    this.#adding.replaceChildren(...(asked ? [asked.element] : []), el("p", { className: "note", textContent: needs }),
      way.element,
      take ? button(data.keep, () => this.#keep(() => [take()]), { primary: true }) : "");
    this.#wrong.textContent = "";
  }

  /** Keep what was given, if it fits the task. */
  async #keep(given: () => readonly Entry[]): Promise<void> {
    const { data } = this.#texts, schema = this.#app.schema;
    try {
      const entries = given();
      if (schema) for (const entry of entries) await fitted(entry, schema, picturePixels);
      await this.#app.entries.add(entries);
      this.#way?.clear?.();
      this.#wrong.textContent = "";
      const all = await this.#relist(), last = entries[entries.length - 1];
      this.#app.tell(data.kept(this.#named(last), all));
    } catch (error) {
      if (!(error instanceof Unfit)) return await this.#app.attempt(() => Promise.reject(error));
      this.#wrong.textContent = data.unfit(error.why);
    }
  }

  /** Show what is kept; returns how many there are. */
  async #relist(): Promise<number> {
    const { data } = this.#texts, all = await this.#app.entries.all();
    this.#count.textContent = all.length ? data.listed(all.length) : data.none;
    const items = await Promise.all(all.slice(-SHOWN).reverse().map((entry) => this.#item(entry)));
    this.#list.replaceChildren(...items);
    await this.#showTesting();
    return all.length;
  }

  async #showTesting(): Promise<void> {
    const { data } = this.#texts;
    try {
      const test = await this.#app.link.call("heldOut");
      this.#testing.textContent = test ? data.testMeans(test.held, test.all) : "";
    } catch (error) {
      if (!(error instanceof WorkerError)) throw error; // the list says of each what does not fit
      this.#testing.textContent = "";
    }
  }

  async #item(entry: Kept): Promise<HTMLLIElement> {
    const { data } = this.#texts, name = this.#named(entry), wrong = await this.#whyNot(entry);
    return el("li", {}, thumbnail(entry),
      el("span", {}, name, wrong && el("small", { className: "bad", textContent: data.unfit(wrong) })),
      button("×", () => this.#delete(entry, name), { label: data.delete(name) }));
  }

  async #whyNot(entry: Entry): Promise<Unfit["why"] | undefined> {
    const schema = this.#app.schema;
    try {
      if (schema) await fitted(entry, schema, picturePixels);
      return undefined;
    } catch (error) {
      if (error instanceof Unfit) return error.why;
      throw error;
    }
  }

  async #delete(entry: Kept, name: string): Promise<void> {
    await this.#app.attempt(async () => {
      await this.#app.entries.remove(entry.key);
      await this.#relist();
      this.#app.tell(this.#texts.data.deleted(name));
      const next = this.#list.querySelector("button") ?? this.#adding.querySelector("canvas, input, button");
      (next as HTMLElement | null)?.focus();
    });
  }

  #named(entry: Entry): string {
    const { data } = this.#texts;
    switch (entry.kind) {
      case "drawn": return data.drawn(entry.label);
      case "picture": return data.picture(entry.label, entry.name);
      case "table": return data.tableFile(entry.name, entry.file.length);
      case "moved": {
        const last = entry.recording.length - VALUES;
        return data.moved(entry.label, last > 0 ? (entry.recording[last] - entry.recording[0]) / 1000 : 0);
      }
    }
  }
}
