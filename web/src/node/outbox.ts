/**
 * Messages that a device has not answered yet, and answers, kept before they are sent (`hedgerow.node.outbox`).
 *
 * A server hands out each message once, and a page may be closed at any moment. So a message is kept before it is
 * worked on, and its answer before it is sent; the message is removed when the server has the answer. The answer stays
 * for a while, so that an identical request gets the same bytes again.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, concatBytes, hexToBytes } from "@noble/hashes/utils.js";
import { Refused } from "../secure/errors.ts";
import type { Bytes } from "../types.ts";
import { json } from "../wording.ts";
import { decodeFleet, encodeFleet } from "../wire/fleet.ts";
import type { Message } from "../wire/protobuf.ts";
import { readTable, type Store, written } from "./store.ts";

const MOST_ANSWERS = 32, MOST_BYTES = 256 * 2 ** 20;
/** Names of runs in the masked protocol: 256 runs in which models are measured have two each. */
const MOST_RUNS = 512;

const PENDING = "outbox/pending/", ANSWERS = "outbox/answers/", LISTED = "outbox/answers.json";
const CLAIMS = "outbox/rounds.json";

/** A message that has arrived. */
export interface Pending {
  /** Under which it is kept: messages that arrived later come later. */
  readonly place: string;
  /** Of the message. */
  readonly id: string;
  /** Its envelope. */
  readonly message: Message;
  /** Of its objects. */
  readonly tree: Message;
  /** Key of the answer in the outbox; empty if it was refused, or not answered yet. */
  readonly answer: string;
  /** Why it was refused; empty if it was not. */
  readonly error: string;
  /** When the answer was made, in seconds since 1970; 0 if there is none yet. */
  readonly made: number;
  /** Whether the server reads bundles. */
  readonly bundled: boolean;
  /** The id of an answer in its envelope; empty if the server has named none. */
  readonly reply: string;
}

/** What is kept of the answers, the latest last. */
interface Listed {
  readonly key: string;
  readonly size: number;
  /** In seconds since 1970. */
  readonly made: number;
}

/** The outbox in a device's store. */
export class Outbox {
  readonly #store: Store;
  readonly #now: () => number;

  /** @param now the time in seconds since 1970. */
  constructor(store: Store, now = () => Date.now() / 1000) {
    this.#store = store;
    this.#now = now;
  }

  /** Messages that have arrived and are not finished, oldest first. */
  async pending(): Promise<Pending[]> {
    const found: Pending[] = [];
    for (const place of await this.#store.names(PENDING)) {
      try {
        const { message, tree, ...about } = await readTable(this.#store, place) ?? {};
        const read = (name: string, hex: unknown) => decodeFleet(name, hexToBytes(String(hex)) as Bytes);
        const told = { message: read("Message", message), tree: read("ObjectTree", tree) };
        const come = { ...about, ...told, place } as Pending;
        const lost = come.answer && (await this.answer(come.answer)) === undefined;
        found.push(lost ? { ...come, answer: "", made: 0 } : come);
      } catch { // kept by another version
        await this.#store.put(new Map([[place, undefined]]));
      }
    }
    return found;
  }

  /** Keep a message. */
  async receive(message: Message, tree: Message): Promise<Pending> {
    const id = (message.metadata as Message).message_id as string, before = await this.#store.names(PENDING);
    const same = before.find((place) => place.endsWith(id)); // handed out twice
    const last = Number(before.at(-1)?.slice(PENDING.length).split("-")[0] ?? 0);
    const place = same ?? `${PENDING}${String(last + 1).padStart(16, "0")}-${id}`;
    const come = { place, id, message, tree, answer: "", error: "", made: 0, bundled: false, reply: "" };
    await this.#keep(come);
    return come;
  }

  /** Keep the answer to a message, which from now on is fixed to the last byte. */
  async settle(come: Pending, { answer = "", error = "" }: { answer?: string; error?: string }): Promise<Pending> {
    const settled = { ...come, answer, error, made: this.#now() };
    await this.#keep(settled);
    return settled;
  }

  /** Forget a message: the server has the answer, or no longer wants one. */
  async done(come: Pending): Promise<void> {
    await this.#store.put(new Map([[come.place, undefined]]));
  }

  /** The answer to an earlier request. */
  async answer(key: string): Promise<Bytes | undefined> {
    return await this.#store.get(ANSWERS + key);
  }

  /**
   * Keep an answer; the oldest are removed if there are too many.
   *
   * @param others what is kept or not at all together with the answer, such as the state after the round.
   */
  async keep(key: string, answer: Bytes, others: ReadonlyMap<string, Bytes | undefined> = new Map()): Promise<void> {
    const needed = new Set([key, ...(await this.pending()).map((come) => come.answer)]);
    const listed = (await this.#listed()).filter((each) => each.key !== key);
    const all = [...listed, { key, size: answer.length, made: this.#now() }];
    const changes = new Map<string, Bytes | undefined>([...others, [ANSWERS + key, answer]]), kept: Listed[] = [];
    let size = 0;
    for (const each of all.reverse()) {
      size += each.size;
      if (needed.has(each.key) || (kept.length < MOST_ANSWERS && size <= MOST_BYTES)) kept.push(each);
      else changes.set(ANSWERS + each.key, undefined);
    }
    await this.#store.put(changes.set(LISTED, written({ answers: kept.reverse() })));
  }

  /** When the last answer was made, in seconds since 1970; 0 if none is kept. */
  async lastMade(): Promise<number> {
    return (await this.#listed()).at(-1)?.made ?? 0;
  }

  /**
   * Record which request opens a masked round before answering it, so that no other can open it. Throws
   * `AlreadyAnswered` if another has opened it, and `StaleRound` if a later round of the run was opened.
   *
   * @param run Hedgerow's, whatever token the masked protocol uses for it.
   */
  async claim(run: string, round: number, key: string): Promise<void> {
    const claims = Object.entries(await readTable(this.#store, CLAIMS) ?? {}) as [string, [number, string]][];
    const [last, opened] = claims.find(([name]) => name === run)?.[1] ?? [-1, ""];
    if (round < last) {
      throw new Refused("StaleRound", `round ${round} is asked for after round ${last}, which was already answered`);
    }
    if (round === last && opened !== key) {
      throw new Refused("AlreadyAnswered", `round ${round} was already opened by another request`);
    }
    const left = [...claims.filter(([name]) => name !== run), [run, [round, key]] as const].slice(-MOST_RUNS);
    await this.#store.put(new Map([[CLAIMS, written(Object.fromEntries(left))]]));
  }

  async #listed(): Promise<Listed[]> {
    return ((await readTable(this.#store, LISTED))?.answers ?? []) as Listed[];
  }

  async #keep({ place, message, tree, ...about }: Pending): Promise<void> {
    const table = {
      ...about, message: bytesToHex(encodeFleet("Message", message)), tree: bytesToHex(encodeFleet("ObjectTree", tree)),
    };
    await this.#store.put(new Map([[place, written(table)]]));
  }
}

/** A hash, 64 hex digits, that two requests share only if they are identical. */
export function keyOf(kind: string, run: string, request: Bytes): string {
  const named = new TextEncoder().encode(`${json([kind, run])}\0`);
  return bytesToHex(sha256(concatBytes(named, request)));
}
