/** Leaving the federation, which erases everything. */

import type { App } from "../app.ts";
import { button, el, opening } from "../dom.ts";
import { WorkerError } from "../link.ts";
import type { Screen } from "./screen.ts";

export function leaveScreen(app: App): Screen {
  const { leave } = app.texts;
  const dialog = el("dialog", { aria: { label: leave.sure } });
  const go = async (anyway: boolean) => {
    dialog.close();
    app.tell(leave.leaving);
    try {
      await app.link.call("leave", anyway);
      app.tell(leave.left);
    } catch (error) {
      if (!(error instanceof WorkerError) || error.kind !== "unreachable") throw error;
      app.tell(leave.unreachable);
      box.append(button(leave.anyway, () => app.attempt(() => go(true))));
    }
  };
  dialog.append(el("p", { textContent: leave.sure }), el("div", { className: "row" },
    button(leave.no, () => dialog.close()),
    button(leave.yes, () => app.attempt(() => go(false)), { primary: true })));
  const box = opening(leave.title, el("p", { textContent: leave.means }),
    button(leave.button, () => dialog.showModal(), { primary: true }), dialog);
  return { elements: [box] };
}
