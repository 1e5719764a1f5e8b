/** The promoted model, asked: what is drawn, picked, moved or written, and what it says of it. */

import type { Entry } from "../../data/entries.ts";
import { kindsFor, sampleOf } from "../../data/fitted.ts";
import { picturePixels } from "../../data/pixels.ts";
import { Unfit } from "../../data/unfit.ts";
import type { OwnSchema } from "../../recipe/own_data.ts";
import type { App } from "../app.ts";
import { type Way, wayFor } from "../capture/capture.ts";
import { button, el, field } from "../dom.ts";
import { WorkerError } from "../link.ts";
import type { Screen } from "./screen.ts";

export function modelScreen(app: App): Screen {
  const screen = new ModelScreen(app);
  return { elements: [screen.element], update: () => screen.update(), end: () => screen.end() };
}

class ModelScreen {
  readonly element = el("section");
  readonly #app: App;
  readonly #answer = el("p", { className: "sentence", aria: { role: "status" } });
  readonly #bars = el("ul", { className: "bars" });
  #ways: Way[] = [];
  #of = "";

  constructor(app: App) {
    this.#app = app;
  }

  update(): void {
    const { model, schema } = this.#app.shown, of = JSON.stringify([model, schema]);
    if (of === this.#of) return;
    this.#of = of;
    this.end();
    const { texts } = this.#app, known = this.#app.schema;
    this.#answer.textContent = "";
    this.#bars.replaceChildren();
    const title = el("h1", { textContent: texts.model.title }), said = (text: string) => el("p", { textContent: text });
    if (!model || !known) this.element.replaceChildren(title, said(texts.model.none));
    else {
      const asking = this.#asking(known), test = said("");
      this.element.replaceChildren(title, said(texts.model.which(model)), ...asking, this.#answer, this.#bars, test);
      void this.#showTest(test);
    }
  }

  end(): void {
    for (const way of this.#ways) way.end?.();
    this.#ways = [];
  }

  #asking(schema: OwnSchema): Node[] {
    if (schema.columns.length) return [this.#form(schema)];
    const kinds = kindsFor(schema), { texts } = this.#app;
    if (!kinds.length) return [el("p", { textContent: texts.model.unsupported })];
    return kinds.flatMap((kind) => {
      const give = ([entry]: readonly Entry[]) => void this.#ask(() => entry, schema);
      const changed = () => this.#drawn(way, schema);
      const way = wayFor(kind, texts, () => "", give, { changed, pictures: texts.model.pick }), { take } = way;
      this.#ways.push(way);
      return take
        ? [way.element, button(texts.model.ask, () => this.#ask(take, schema), { primary: true })] : [way.element];
    });
  }

  /** A drawing is asked about after each stroke. */
  #drawn(way: Way, schema: OwnSchema): void {
    if (way.take) void this.#ask(way.take, schema, true);
  }

  #form(schema: OwnSchema): HTMLElement {
    const inputs = schema.columns.map((_, place) => el("input", {
      type: "number", step: "any", required: true, min: bound(schema.lowest, place), max: bound(schema.highest, place),
    }));
    return el("form", { on: { submit: (event: Event) => {
      event.preventDefault();
      const values = Float64Array.from(inputs, (input) => input.valueAsNumber);
      void this.#app.attempt(() => this.#show(schema.prepare(values), schema));
    } } }, ...inputs.map((input, place) => field(schema.columns[place], input)),
    el("button", { type: "submit", className: "primary", textContent: this.#app.texts.model.ask }));
  }

  async #ask(take: () => Entry, schema: OwnSchema, quiet = false): Promise<void> {
    const { data } = this.#app.texts;
    try {
      const sample = await sampleOf(take(), schema, picturePixels);
      await this.#app.attempt(() => this.#show(sample, schema));
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      this.#answer.textContent = quiet ? "" : data.unfit(error.why);
      this.#bars.replaceChildren();
    }
  }

  /** How the model does on the phone's own test part, which is computed here and told nobody. */
  async #showTest(shown: HTMLElement): Promise<void> {
    try {
      const test = await this.#app.link.call("test");
      if (test) shown.textContent = this.#app.texts.model.test(test);
    } catch (error) {
      if (!(error instanceof WorkerError)) throw error;
      shown.textContent = error.kind === "not fetched" ? this.#app.texts.model.noGraph : error.message;
    }
  }

  async #said(sample: Float32Array): Promise<readonly number[] | undefined> {
    try {
      return await this.#app.link.call("ask", sample);
    } catch (error) {
      if (!(error instanceof WorkerError) || error.kind !== "not fetched") throw error;
      this.#answer.textContent = this.#app.texts.model.noGraph;
      return undefined;
    }
  }

  async #show(sample: Float32Array, schema: OwnSchema): Promise<void> {
    const { model } = this.#app.texts, said = await this.#said(sample);
    if (!said) return;
    if (!schema.classes.length) {
      this.#answer.textContent = model.number(said[0]);
      return;
    }
    const best = said.indexOf(Math.max(...said));
    this.#answer.textContent = model.answer(schema.classes[best], said[best]);
    this.#bars.replaceChildren(...schema.classes.map((name, place) => {
      const bar = el("meter", { min: 0, max: 1, value: said[place], aria: { label: model.bar(name, said[place]) } });
      return el("li", { className: place === best ? "best" : "" }, el("span", { textContent: name }), bar);
    }));
  }
}

function bound(bounds: readonly number[], place: number): string {
  return bounds.length ? String(bounds[Math.min(place, bounds.length - 1)]) : "";
}
