/** The page's worker: the phone lives here, so that the page answers while it learns. */

import { Entries } from "../data/entries.ts";
import { KeptData } from "../data/kept_data.ts";
import { picturePixels } from "../data/pixels.ts";
import { IndexedStore } from "../node/indexed_store.ts";
import { Phone, type PhoneParts } from "../phone.ts";
import { Host } from "./host.ts";
import type { Account, Asked, Calls, Told } from "./messages.ts";

const store = new IndexedStore(), entries = new Entries(store);
const data = new KeptData(entries, picturePixels, (schema) => host.asked(schema));
const parts: PhoneParts = {
  store,
  answering: () => ({ answer: () => Promise.reject(new Error(`not yet ${data}`)) }),
  takesModels: async () => true,
};
const host: Host = new Host({
  store,
  join: (invitation) => Phone.join(invitation, parts),
  open: () => Phone.open(parts),
  samples: async () => (await entries.keys()).length,
  account: async (): Promise<Account> => ({ answers: 0, left: [] }),
}, (shown) => say({ shown }));

const CALLS: { readonly [N in keyof Calls]: (...given: Parameters<Calls[N]>) => unknown } = {
  open: () => host.open(),
  join: (invitation, rules) => host.join(invitation, rules),
  take: (part) => host.take(part),
  leave: (anyway) => host.leave(anyway),
  account: () => host.account(),
  ask: () => [],
  heldOut: () => undefined,
};

addEventListener("message", ({ data: { id, call, given } }: MessageEvent<Asked>) => void answer(id, call, given));

async function answer(id: number, call: keyof Calls, given: readonly unknown[]): Promise<void> {
  try {
    say({ id, answer: await (CALLS[call] as (...given: readonly unknown[]) => unknown)(...given) });
  } catch (error) {
    const { message, constructor } = error as Error;
    say({ id, error: message, kind: constructor.name });
  }
}

function say(told: Told): void {
  postMessage(told);
}
