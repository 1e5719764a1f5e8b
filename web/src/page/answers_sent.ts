/** What the phone's own record says that it has sent, for its owner. */

import { Account as Spent } from "../client/account.ts";
import { readTable, type Store } from "../node/store.ts";
import type { Account, Left } from "./messages.ts";

const FOLDER = "answers/", COUNTED = "answers.json";
const SHOWN = 1000; // the newest

/** The record of answers, and what they have revealed by the account, if noise bounds that. */
export async function answersSent(store: Store, delta: number): Promise<Account> {
  const counted = await readTable(store, COUNTED), names = await store.names(FOLDER);
  const left = await Promise.all(names.slice(-SHOWN).reverse().map((name) => readTable(store, name)));
  const spent = new Spent(store, delta), releases = await spent.releases();
  return {
    answers: Number(counted?.updates ?? 0),
    left: left.filter((line) => line !== undefined).map(told),
    ...(releases.length ? { epsilon: await spent.epsilon() } : {}),
  };
}

function told({ time, kind, bytes }: Record<string, unknown>): Left {
  return { time: Date.parse(String(time)), kind: String(kind), bytes: Number(bytes) };
}
