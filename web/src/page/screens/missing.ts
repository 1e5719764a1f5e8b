/** Nobody has invited this phone yet. */

import type { App } from "../app.ts";
import { button, el, field } from "../dom.ts";
import { invitationIn } from "../invitation.ts";
import type { Screen } from "./screen.ts";

export function missingScreen(app: App): Screen {
  const { missing, gone } = app.texts;
  const address = el("input", { type: "url", autocomplete: "off", spellcheck: false });
  const open = async () => {
    const found = invitationIn(address.value);
    if (found) await app.attempt(() => app.invite(found));
    else app.tell(missing.bad);
  };
  const form = el("form", { on: { submit: (event: Event) => {
    event.preventDefault();
    void open();
  } } }, field(missing.paste, address), button(missing.open, open, { primary: true }));
  return {
    elements: [el("section", {},
      el("h1", { textContent: missing.title }),
      app.shown.gone && el("p", { className: "bad", textContent: gone }),
      el("p", { textContent: missing.how }), form)],
  };
}
