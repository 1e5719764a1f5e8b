/** Taking part: what the phone does now, what it has done, and what it answers. */

import type { App } from "../app.ts";
import { button, el, list, opening, section } from "../dom.ts";
import type { RoundLine, Shown } from "../messages.ts";
import type { Texts } from "../texts/texts.ts";
import { Awake } from "../awake.ts";
import type { Screen } from "./screen.ts";

const SHOWN = 10; // lines of a table, and of the log before somebody wants more
const WORKING = ["joining", "training", "sending"];

export function roundScreen(app: App): Screen {
  const screen = new RoundScreen(app);
  return { elements: screen.elements, update: () => screen.update(), end: () => screen.end() };
}

class RoundScreen {
  readonly elements: readonly (Node | string)[];
  readonly #app: App;
  readonly #texts: Texts["round"];
  readonly #state = el("p", { id: "state", aria: { role: "status" } });
  readonly #detail = el("p", { className: "note" });
  readonly #note = el("p", { className: "note" });
  readonly #take: HTMLButtonElement;
  readonly #figures = el("div", { className: "figures" });
  readonly #rounds = el("tbody");
  readonly #none = el("p", { className: "note" });
  readonly #rules = list([]);
  readonly #given = el("div");
  readonly #left = el("ul", { className: "lines" });
  readonly #more: HTMLButtonElement;
  readonly #awake: Awake;
  #answers = -1;
  #lines = SHOWN;

  constructor(app: App) {
    this.#app = app;
    const texts = this.#texts = app.texts.round;
    this.#awake = new Awake(texts.awake, () => app.shown.taking);
    this.#more = button(texts.more, () => this.#showMore());
    this.#take = button(texts.start, () => this.#press(), { primary: true });
    const { name, address } = app.shown.phone ?? { name: "", address: "" };
    const heads = [texts.number, texts.right, texts.loss];
    this.elements = [
      opening(texts.title,
        el("p", { className: "note", textContent: texts.name(name, address) }),
        this.#state, this.#detail, this.#note, el("div", { className: "row" }, this.#take), this.#awake.element),
      this.#figures,
      section(texts.rounds, this.#none, el("table", {}, el("thead", {},
        el("tr", {}, ...heads.map((head) => el("th", { textContent: head, scope: "col" })))), this.#rounds)),
      section(texts.rules, this.#rules),
      section(texts.account, this.#given),
      section(texts.log, this.#left, this.#more),
      app.offline ? el("p", { className: "note", textContent: texts.offlineReady }) : "",
    ];
  }

  update(): void {
    const { shown } = this.#app, texts = this.#texts;
    const state = shown.taking ? shown.state : "paused";
    this.#state.className = state;
    show(this.#state, state === "paused" ? texts.paused : texts.states[state]);
    show(this.#detail, ["offline", "refused", "revoked"].includes(state) ? shown.sentence : "");
    show(this.#note, state === "refused" && shown.note ? texts.noted(shown.note) : "");
    this.#state.classList.toggle("working", WORKING.includes(state));
    show(this.#take, shown.taking ? texts.pause : texts.start);
    this.#awake.look();
    this.#showFigures(shown);
    this.#none.textContent = shown.rounds.length ? "" : texts.noRounds;
    this.#rounds.replaceChildren(...shown.rounds.slice(-SHOWN).reverse().map((line) => this.#line(line)));
    this.#rules.replaceChildren(...(shown.rules ? texts.rulesOf(shown.rules) : []).map((line) => el("li", {}, line)));
    if (shown.up !== this.#answers) void this.#app.attempt(() => this.#showAccount(shown));
  }

  end(): void {
    this.#awake.end();
  }

  #showFigures(shown: Shown): void {
    const texts = this.#texts, last = shown.rounds.at(-1);
    const measured = shown.rounds.findLast((line) => line.accuracy !== undefined);
    const figures = [
      [texts.number, last ? String(last.round) : "–"],
      [texts.accuracy, measured?.accuracy === undefined ? "–" : texts.percent(measured.accuracy)],
      [texts.up, texts.size(shown.up)], [texts.down, texts.size(shown.down)],
    ];
    this.#figures.replaceChildren(...figures.map(([name, value]) =>
      el("div", {}, el("span", { textContent: name }), el("b", { textContent: value }))));
  }

  #line(line: RoundLine): HTMLTableRowElement {
    const shown = [
      String(line.round), line.accuracy === undefined ? "–" : this.#texts.percent(line.accuracy),
      line.loss === undefined ? "–" : this.#texts.value(line.loss),
    ];
    return el("tr", {}, ...shown.map((text) => el("td", { textContent: text })));
  }

  async #showAccount(shown: Shown): Promise<void> {
    this.#answers = shown.up;
    const account = await this.#app.link.call("account"), texts = this.#texts;
    const said = [texts.answers(account.answers, shown.rules?.most_answers ?? null)];
    if (account.epsilon !== undefined) said.push(texts.spent(account.epsilon, shown.rules?.client_epsilon ?? null));
    this.#given.replaceChildren(list(said));
    const lines = account.left.slice(0, this.#lines).map(({ time, kind, bytes }) =>
      el("li", {}, el("time", { textContent: texts.when(time), dateTime: new Date(time).toISOString() }),
        texts.logLine(kind, bytes)));
    this.#left.replaceChildren(...(lines.length ? lines : [el("li", { textContent: texts.nothingLeft })]));
    this.#more.hidden = account.left.length <= this.#lines;
  }

  async #showMore(): Promise<void> {
    this.#lines = Infinity;
    await this.#app.attempt(() => this.#showAccount(this.#app.shown));
  }

  async #press(): Promise<void> {
    const app = this.#app;
    await app.attempt(async () => {
      const part = !app.shown.taking;
      if (part && !(await app.entries.keys()).length) return app.tell(this.#texts.needsData);
      app.tell("");
      await app.link.call("take", part);
    });
  }
}

/** Change a text only where it differs, so that a screen reader does not read it again. */
function show(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}
