/** What will be learned, what leaves the phone, what protects it, and whom one trusts; then joining, or not. */

import { about, type About } from "../about.ts";
import type { App } from "../app.ts";
import { button, el, field, list, section } from "../dom.ts";
import type { Invitation } from "../invitation.ts";
import { OPEN, type Rules, STRICT } from "../rules.ts";
import type { Screen } from "./screen.ts";

const HEX = /[0-9a-f]{64}/g;

export function consentScreen(app: App, invitation: Invitation): Screen {
  const screen = new Consent(app, invitation);
  void about(invitation.address).then((found) => found && screen.know(found));
  return { elements: screen.elements };
}

class Consent {
  readonly elements: readonly Node[];
  readonly #app: App;
  readonly #invitation: Invitation;
  readonly #title = el("h1");
  readonly #sentence = el("p", { className: "sentence" });
  readonly #rules = list([], "rules");
  readonly #leaving = el("ul");
  readonly #said = el("p");
  readonly #refuses = el("p", { className: "bad" });
  readonly #code = el("div");
  readonly #group = el("input", { type: "number", min: "3", max: "100000", required: true });
  readonly #limit = el("input", { type: "number", min: "1" });
  readonly #evaluate = el("input", { type: "checkbox" });
  readonly #pasted = el("input", { type: "text", autocomplete: "off", spellcheck: false });
  readonly #join: HTMLButtonElement;
  #base = STRICT;
  #about: About | undefined;

  constructor(app: App, invitation: Invitation) {
    this.#app = app;
    this.#invitation = invitation;
    const { consent } = app.texts;
    this.#join = button(consent.join, () => this.#agree(), { primary: true });
    const form = el("form", { on: { submit: (event: Event) => this.#submit(event), input: () => this.#show() } },
      this.#protects(), this.#trust(),
      el("div", { className: "row last" }, this.#join, button(consent.decline, () => this.#decline())));
    this.elements = [
      el("section", { className: "first" }, this.#title, this.#sentence),
      section(consent.leaves, this.#leaving, el("p", { textContent: consent.stays })), form,
    ];
    this.#choose(STRICT);
    this.know(undefined);
  }

  /** Show what the coordinator says of its run, if it says anything. */
  know(found: About | undefined): void {
    const { consent } = this.#app.texts, what = consent.what(found?.schema);
    this.#about = found;
    this.#title.textContent = consent.title(what);
    this.#leaving.replaceChildren(
      ...[consent.change(found?.values ?? 0, found?.up ?? 0), consent.about].map((line) => el("li", {}, line)));
    this.#said.textContent = found ? consent.said(found.least, found.epsilon) : "";
    const named = found?.signer || found?.graphs;
    this.#code.replaceChildren(el("h3", { textContent: consent.graphs }), named
      ? el("p", { textContent: consent.graphsMeans(named) }) : field(consent.noGraphs, this.#pasted));
    this.#show();
  }

  #protects(): HTMLElement {
    const { consent } = this.#app.texts;
    const way = (rules: Rules, text: string, means: string) => {
      const meaning = el("small", { textContent: means, id: `means-${rules === STRICT ? "strict" : "open"}` });
      const chosen = el("input", {
        type: "radio", name: "way", checked: rules === STRICT, aria: { describedby: meaning.id },
        on: { change: () => this.#choose(rules) },
      });
      return el("div", { className: "way" }, el("label", {}, chosen, el("b", { textContent: text })), meaning);
    };
    return section(consent.protects,
      el("fieldset", {}, el("legend", { textContent: consent.choice }),
        way(STRICT, consent.strict, consent.strictMeans), way(OPEN, consent.open, consent.openMeans)),
      el("p", { textContent: consent.protected }), this.#rules,
      el("details", {}, el("summary", { textContent: consent.more }),
        field(consent.group, this.#group), field(consent.limit, this.#limit),
        el("label", { className: "check" }, this.#evaluate, el("span", { textContent: consent.evaluate }))),
      this.#said, this.#refuses);
  }

  #trust(): HTMLElement {
    const { consent, build } = this.#app.texts, hash = this.#app.build?.hash ?? build.none;
    return section(consent.trust, el("p", { textContent: consent.trusted(location.origin) }),
      el("p", { className: "hash" }, `${build.label}: `, el("code", { textContent: hash })),
      this.#code);
  }

  #choose(rules: Rules): void {
    this.#base = rules;
    this.#group.value = String(rules.min_clients);
    this.#evaluate.checked = rules.evaluate;
    this.#show();
  }

  #show(): void {
    const { consent } = this.#app.texts;
    this.#sentence.textContent = consent.sentence(consent.what(this.#about?.schema), this.#chosen());
    this.#rules.replaceChildren(...this.#app.texts.round.rulesOf(this.#chosen()).map((line) => el("li", {}, line)));
    const refused = this.#about?.least === 0 && this.#base.masked_only;
    this.#refuses.textContent = refused ? consent.refuses : "";
    this.#join.disabled = !this.#group.validity.valid || !this.#limit.validity.valid;
  }

  #chosen(): Rules {
    const whole = ({ valueAsNumber: value }: HTMLInputElement) => (Number.isInteger(value) ? value : undefined);
    const { signer = "", graphs = "" } = this.#about ?? {};
    const keys = signer ? [signer] : [], hashes = graphs && !signer ? [graphs] : [];
    const pasted = this.#pasted.value.match(HEX) ?? []; // whether hashes or keys: nothing can be both
    return {
      ...this.#base, min_clients: whole(this.#group) ?? this.#base.min_clients,
      most_answers: whole(this.#limit) ?? null, evaluate: this.#evaluate.checked,
      graphs: { ...this.#base.graphs, hashes: [...hashes, ...pasted], keys: [...keys, ...pasted] },
    };
  }

  #submit(event: Event): void {
    event.preventDefault();
    void this.#agree();
  }

  async #agree(): Promise<void> {
    const app = this.#app, { consent } = app.texts;
    if (this.#join.disabled) return;
    this.#join.disabled = true;
    app.tell(consent.joining);
    await app.attempt(async () => {
      void navigator.storage?.persist?.(); // Firefox asks the person, who may not answer
      const schema = this.#about?.schema && JSON.parse(JSON.stringify(this.#about.schema));
      const shown = await app.link.call("join", this.#invitation, this.#chosen(), schema);
      app.tell("");
      await app.settled(shown, "data");
    });
    this.#join.disabled = false;
  }

  async #decline(): Promise<void> {
    await this.#app.attempt(() => this.#app.decline());
    this.#app.tell(this.#app.texts.consent.declined);
  }
}
