/**
 * What a client keeps from one round to the next, such as a residual (`hedgerow.client.state`).
 *
 * A store keeps the states of the last two rounds that the client trained in, and returns the newest one from before a
 * given round: a round that is run again starts from the same state as the first time.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, concatBytes, hexToBytes } from "@noble/hashes/utils.js";
import { readTable, type Store, written } from "../node/store.ts";
import { Refused } from "../secure/errors.ts";
import { type Arrays, type Bytes, type Numbers, PayloadError } from "../types.ts";
import { packArrays, unpackArrays } from "../wire/arrays.ts";
import { decode, encode } from "../wire/codec.ts";
import { ArrayRecord } from "../wire/content.ts";

/** `{part: {name: array}}`; the parts are independent of each other. */
export type State = ReadonlyMap<string, Arrays>;

const ARRAYS = "state", CHECKSUM = 32, DIGITS = 16;
const MOST_RUNS = 16;

/** A client's state in one run. */
export class ClientState {
  readonly #store: Store;
  readonly #folder: string;

  /** @param run Hedgerow's name of it. */
  constructor(store: Store, run: string) {
    this.#store = store;
    this.#folder = `state/${run}/rounds/`;
  }

  /**
   * The newest state from before a round; empty for a new client. Throws `LostState` if it cannot be read: it is
   * removed, so that the next round starts from an older one, and this one fails rather than do so silently.
   */
  async load(round: number): Promise<State> {
    const place = (await this.#kept()).findLast((each) => each.round < round);
    if (!place) return new Map();
    try {
      return unpacked(await this.#store.get(place.name) ?? new Uint8Array(0));
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error;
      await this.#store.put(new Map([[place.name, undefined]]));
      throw new Refused("LostState", `the client's state of round ${place.round} cannot be read: ${error.message}`);
    }
  }

  /** Keep the state at the end of a round, and the one before it. */
  async save(round: number, state: State): Promise<void> {
    const before = await this.#kept(), last = before.findLast((each) => each.round < round);
    const others = before.filter((each) => each.round !== last?.round);
    const old = others.map(({ name }): [string, undefined] => [name, undefined]);
    await this.#store.put(new Map<string, Bytes | undefined>([
      ...old, [this.#folder + String(round).padStart(DIGITS, "0"), packed(state)],
    ]));
  }

  async #kept(): Promise<{ name: string; round: number }[]> {
    const names = await this.#store.names(this.#folder);
    return names.map((name) => ({ name, round: Number(name.slice(this.#folder.length)) }));
  }
}

/** Note that a run is worked on; what is kept of the least recently used ones is removed if there are too many. */
export async function touch(store: Store, run: string): Promise<void> {
  const before = ((await readTable(store, "state.json"))?.runs ?? []) as string[];
  if (before[0] === run) return;
  const runs = [run, ...before.filter((each) => each !== run)];
  const old = (await Promise.all(runs.slice(MOST_RUNS).map((each) => store.names(`state/${each}/`)))).flat();
  await store.put(new Map<string, Bytes | undefined>([
    ["state.json", written({ runs: runs.slice(0, MOST_RUNS) })],
    ...old.map((name): [string, undefined] => [name, undefined]),
  ]));
}

/** A small record: texts, numbers, truths and bytes by name. */
export type Note = Readonly<Record<string, string | number | boolean | Bytes>>;

/** Small records of a run, which survive a page that is closed between the stages of a masked round. */
export class Notes {
  readonly #store: Store;
  readonly #folder: string;

  constructor(store: Store, run: string) {
    this.#store = store;
    this.#folder = `state/${run}/notes/`;
  }

  async get(name: string): Promise<Note | undefined> {
    const found = await readTable(this.#store, this.#folder + name);
    if (!found) return undefined;
    const items = Object.entries(found).map(([key, value]) => [key, isHex(value) ? hexToBytes(value.hex) : value]);
    return Object.fromEntries(items) as Note;
  }

  async set(name: string, note: Note): Promise<void> {
    const items = Object.entries(note).map(([key, value]) =>
      [key, value instanceof Uint8Array ? { hex: bytesToHex(value) } : value]);
    await this.#store.put(new Map([[this.#folder + name, written(Object.fromEntries(items))]]));
  }

  async delete(name: string): Promise<void> {
    await this.#store.put(new Map([[this.#folder + name, undefined]]));
  }
}

/** The arrays as they are kept, with a checksum. */
function packed(state: State): Bytes {
  const flat = new Map<string, Numbers>();
  for (const [part, arrays] of state) for (const [name, values] of arrays) flat.set(`${part}/${name}`, values);
  const data = encode(new Map([[ARRAYS, packArrays(flat)]]));
  return concatBytes(sha256(data), data) as Bytes;
}

function unpacked(kept: Bytes): State {
  const data = kept.slice(CHECKSUM), found = sha256(data);
  if (kept.length < CHECKSUM || found.some((byte, i) => byte !== kept[i])) {
    throw new PayloadError("its checksum is wrong: it has changed since it was written");
  }
  const record = decode(data).get(ARRAYS), state = new Map<string, Map<string, Numbers>>();
  for (const [key, values] of record instanceof ArrayRecord ? unpackArrays(record, ARRAYS) : []) {
    const at = key.indexOf("/"), part = key.slice(0, at);
    if (!state.has(part)) state.set(part, new Map());
    state.get(part)?.set(key.slice(at + 1), values);
  }
  return state;
}

function isHex(value: unknown): value is { hex: string } {
  return typeof value === "object" && value !== null && "hex" in value;
}
