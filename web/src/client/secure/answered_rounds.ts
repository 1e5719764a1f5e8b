/** A client's record of the secure rounds that it has answered, and of keys it has learned (`...answered_rounds`). */

import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js";
import { readTable, type Store, written } from "../../node/store.ts";
import { Refused } from "../../secure/errors.ts";
import type { Random } from "../../secure/primitives.ts";
import type { Bytes } from "../../types.ts";

const NAME = "secure.json", SALT = 16;
/** Names of runs in the protocol: 256 runs in which models are measured have two each. */
const MOST_RUNS = 512;

interface Told {
  /** The last round of each run, and the stage of it that was answered last. */
  runs: [string, number, number][];
  keys: Record<string, string>;
  /** The round in progress: run, round and salt. */
  open: [string, number, string];
}

/** The memory of a device; each change is kept when its method returns. */
export class AnsweredRounds {
  readonly #store: Store;
  readonly #random: Random;

  constructor(store: Store, random: Random) {
    this.#store = store;
    this.#random = random;
  }

  /**
   * Record a round before joining it. The salt of the last round, of whatever run, is forgotten, and with it what is
   * left of that round's secrets. Throws `AlreadyAnswered`, `StaleRound` and `AskedTooOften`.
   */
  async join(run: string, round: number, minSeparation: number): Promise<void> {
    const told = await this.#load(), [, last] = told.runs.find(([name]) => name === run) ?? ["", 0, 0];
    if (round === last) {
      throw new Refused(
        "AlreadyAnswered", `round ${round} was already answered; a client answers each round once`,
      );
    }
    if (round < last) {
      throw new Refused("StaleRound", `round ${round} is asked for after round ${last}, which was already answered`);
    }
    if (last && round < last + minSeparation) {
      throw new Refused(
        "AskedTooOften",
        `round ${round} is too soon after round ${last}, which was answered; a client's rounds must be`
          + ` ${minSeparation} rounds apart, by the strategy's sampling`,
      );
    }
    const others = told.runs.filter(([name]) => name !== run), all: Told["runs"] = [...others, [run, round, 0]];
    await this.#save({ ...told, runs: all.slice(-MOST_RUNS), open: [run, round, bytesToHex(this.#random(SALT))] });
  }

  /**
   * Record a stage of a round, after the first, before answering it. Throws `AlreadyAnswered`, `OutOfOrder` and
   * `StaleRound`.
   */
  async claim(run: string, round: number, stage: number): Promise<void> {
    const told = await this.#load(), [, last, answered] = told.runs.find(([name]) => name === run) ?? ["", 0, 0];
    if (round !== last) {
      throw new Refused("StaleRound", `round ${round} is asked for, but this client last joined round ${last}`);
    }
    if (stage <= answered) {
      throw new Refused("AlreadyAnswered", `this stage of round ${round} was already answered; each is, once`);
    }
    if (stage > answered + 1) {
      throw new Refused("OutOfOrder", `the stage of round ${round} before this one was not answered`);
    }
    const runs = told.runs.map((each): [string, number, number] => (each[0] === run ? [run, round, stage] : each));
    await this.#save({ ...told, runs });
  }

  /** The salt of a round. Throws `OutOfOrder` if it is not the round in progress. */
  async salt(run: string, round: number): Promise<Bytes> {
    const { open } = await this.#load();
    if (open[0] !== run || open[1] !== round) {
      throw new Refused(
        "OutOfOrder", `nothing is left of round ${round}: it has ended, or this client has since joined another`,
      );
    }
    return hexToBytes(open[2]) as Bytes;
  }

  /** Forget the salt of a run's round, which makes all copies of its secrets unreadable. */
  async forget(run: string): Promise<void> {
    const told = await this.#load();
    if (told.open[0] === run) await this.#save({ ...told, open: ["", 0, ""] });
  }

  /** Keys that were taken on first use. */
  async learned(): Promise<Map<string, Bytes>> {
    const { keys } = await this.#load();
    return new Map(Object.entries(keys).map(([name, key]) => [name, hexToBytes(key) as Bytes]));
  }

  /** Keep keys that were taken on first use. */
  async learn(found: ReadonlyMap<string, Bytes>): Promise<void> {
    if (!found.size) return;
    const told = await this.#load(), more = [...found].map(([name, key]) => [name, bytesToHex(key)]);
    await this.#save({ ...told, keys: { ...told.keys, ...Object.fromEntries(more) } });
  }

  async #load(): Promise<Told> {
    try {
      const found = await readTable(this.#store, NAME) ?? { runs: [], keys: {}, open: ["", 0, ""] };
      return checked(found);
    } catch (error) {
      if (error instanceof DOMException) throw error; // of the store
      // To continue without it could mean answering twice.
      throw new Refused("Malformed", `the record of answered rounds cannot be read: ${(error as Error).message}`);
    }
  }

  async #save(told: Told): Promise<void> {
    await this.#store.put(new Map([[NAME, written(told)]]));
  }
}

/** What was kept, if it has the right types. Throws `TypeError`. */
function checked(found: Record<string, unknown>): Told {
  const { runs, keys, open } = found as unknown as Told;
  const whole = (...numbers: unknown[]) => numbers.every(Number.isSafeInteger);
  const right = Array.isArray(runs)
    && runs.every(([run, round, stage]) => typeof run === "string" && whole(round, stage))
    && typeof keys === "object" && Object.values(keys).every((key) => /^[0-9a-f]{64}$/.test(key))
    && typeof open[0] === "string" && whole(open[1]) && /^[0-9a-f]*$/.test(open[2]);
  if (!right) throw new TypeError("it is not what was written");
  return { runs, keys, open };
}
