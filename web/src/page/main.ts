/** Begins the page: its invitation, its worker, and what keeps it on the phone. */

import { App } from "./app.ts";
import { button, el } from "./dom.ts";
import { invitationIn } from "./invitation.ts";
import { build, keptOffline } from "./offline/pages_version.ts";
import { textsFor } from "./texts/texts.ts";

const texts = textsFor(navigator.languages);

/** The invitation of the address, which then holds it no longer: it lets whoever sees it in. */
function taken() {
  const invited = location.hash ? invitationIn(location.hash) : undefined;
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return invited;
}

function newer(load: () => void): void {
  const told = document.querySelector("#newer") as HTMLElement;
  told.replaceChildren(texts.build.newer, " ", button(texts.build.load, load));
  told.hidden = false;
}

async function begin(): Promise<void> {
  const invited = taken();
  const main = document.querySelector("main") as HTMLElement;
  if (!isSecureContext || !("Worker" in globalThis) || !("indexedDB" in globalThis)) {
    main.replaceChildren(el("p", { className: "bad", textContent: isSecureContext ? texts.noWorker : texts.insecure }));
    return;
  }
  // The worker's files are large: they are fetched once, by what keeps them.
  const offline = await keptOffline(newer);
  const app = new App(texts, new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));
  app.offline = offline;
  app.build = await build();
  const shown = document.querySelector("#build") as HTMLElement;
  shown.textContent = `${texts.build.label} ${app.build?.hash ?? texts.build.none}`;
  await app.begin(invited);
  addEventListener("hashchange", () => { // an invitation that is opened while the page is open
    const another = taken();
    if (another) void app.attempt(() => app.invite(another));
  });
}

void begin();
