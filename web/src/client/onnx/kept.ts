/** A graph that is loaded when it is first used, and kept until it is released. */

import type { Signature } from "../../graphs/signature.ts";
import type { Bytes } from "../../types.ts";
import type { Open, Session } from "./session.ts";

/** A session, and how many use it. */
interface Lent {
  readonly session: Promise<Session>;
  users: number;
}

export class Kept {
  readonly signature: Signature;
  readonly #content: Bytes;
  readonly #open: Open;
  #lent: Lent | undefined;

  constructor(content: Bytes, signature: Signature, open: Open) {
    this.signature = signature;
    this.#content = content;
    this.#open = open;
  }

  /** Do something with the session, which stays open meanwhile. Throws `BadGraphs` if the graph cannot be loaded. */
  async use<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const lent = (this.#lent ??= { session: this.#open(this.#content, this.signature), users: 0 });
    lent.users++;
    try {
      return await work(await this.#loaded(lent));
    } finally {
      lent.users--;
      if (this.#lent !== lent) await closed(lent);
    }
  }

  async #loaded(lent: Lent): Promise<Session> {
    try {
      return await lent.session;
    } catch (error) {
      if (this.#lent === lent) this.#lent = undefined; // it is tried again
      throw error;
    }
  }

  /** Free what the graph takes, once nobody uses it any more; it is loaded again when it is needed. */
  async release(): Promise<void> {
    const lent = this.#lent;
    this.#lent = undefined;
    if (lent !== undefined) await closed(lent);
  }
}

async function closed({ session, users }: Lent): Promise<void> {
  if (users) return; // the last one closes it
  const found = await session.catch(() => undefined); // a graph that cannot be loaded takes nothing
  await found?.release();
}
