/** How a device gets the promoted model, and what it keeps (`hedgerow.promotion.delivered`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { readTable, type Store, written } from "../node/store.ts";
import { type Bytes, PayloadError } from "../types.ts";
import { type Promotion, readPromotion } from "./lineage.ts";
import { readTensors } from "./tensors.ts";

const PATH = "/model", FILE = "promoted.json", MODELS = "models/";
/** Bytes of one piece. */
const PIECE = 4 * 2 ** 20;
const LARGEST = 2 ** 28, MOST_NAMED = 2 ** 20;

/** `path -> body` of the coordinator's answer to a `GET`. */
export type Ask = (path: string) => Promise<Bytes>;

/** A model is not what the coordinator says it is. */
export class NotTaken extends RangeError {}

/** The promoted models in a device's store: the current one, and the one before it. */
export class Delivered {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The current promotion, and the one before it; none if they were kept by another version. */
  async standing(): Promise<Promotion[]> {
    try {
      return ((await readTable(this.#store, FILE))?.promotions as unknown[] ?? []).map(readPromotion);
    } catch {
      return [];
    }
  }

  /** The file of a promotion's model; nothing if it is not kept. */
  async model({ model }: Promotion): Promise<Bytes | undefined> {
    return await this.#store.get(fileOf(model));
  }

  /** Whether the model with this hash is the current one. */
  async has(model: string): Promise<boolean> {
    return (await this.standing())[0]?.model === model;
  }

  /**
   * Take one step towards the coordinator's promoted model: fetch its description, or one piece. Returns the promotion
   * once the model is complete. Throws `NotTaken` if it is not what the coordinator says it is; what was fetched is
   * removed then.
   */
  async fetch(ask: Ask): Promise<Promotion | undefined> {
    const promotion = said(await ask(PATH)), there = await this.#pieces(promotion.model);
    const data = await this.model(promotion) ?? await this.#piece(ask, promotion, there);
    if (!data) return undefined;
    const before = (await this.standing()).filter((each) => each.model !== promotion.model);
    const kept = [promotion, ...before].slice(0, 2), files = new Set(kept.map(({ model }) => fileOf(model)));
    const old = (await this.#store.names(MODELS)).filter((name) => !files.has(name));
    await this.#store.put(new Map<string, Bytes | undefined>([
      [fileOf(promotion.model), data], [FILE, written({ promotions: kept })],
      ...old.map((name): [string, undefined] => [name, undefined]),
    ]));
    return promotion;
  }

  /** Fetch one piece; returns the model if it is complete. */
  async #piece(ask: Ask, { model, size }: Promotion, there: readonly string[]): Promise<Bytes | undefined> {
    const place = there.length, piece = await ask(`${PATH}/${model}/${place}`), end = place * PIECE + piece.length;
    const forget = async (why: string): Promise<never> => {
      await this.#store.put(new Map(there.map((name) => [name, undefined])));
      throw new NotTaken(why);
    };
    if (end < size && piece.length !== PIECE) {
      await forget("the coordinator sent less of its promoted model than it announced");
    }
    if (end < size) {
      await this.#store.put(new Map([[`${pieceOf(model)}${String(place).padStart(4, "0")}`, piece]]));
      return undefined;
    }
    const whole = new Uint8Array(end);
    for (const [i, name] of there.entries()) whole.set(await this.#store.get(name) ?? [], i * PIECE);
    whole.set(piece, place * PIECE);
    if (bytesToHex(sha256(whole)) !== model) await forget("the promoted model does not match its hash");
    try {
      readTensors(whole);
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error;
      await forget(`the promoted model cannot be read: ${error.message}`);
    }
    return whole;
  }

  #pieces(model: string): Promise<string[]> {
    return this.#store.names(pieceOf(model));
  }
}

function said(data: Bytes): Promotion {
  if (data.length > MOST_NAMED) throw new NotTaken("the coordinator's description of its promoted model is too long");
  let promotion: Promotion;
  try {
    promotion = readPromotion(JSON.parse(new TextDecoder().decode(data)));
  } catch (error) {
    throw new NotTaken(`the coordinator's promoted model cannot be read: ${(error as Error).message}`);
  }
  if (promotion.size < 1 || promotion.size > LARGEST) {
    throw new NotTaken(`the promoted model has ${promotion.size} bytes; at most ${LARGEST} are accepted`);
  }
  return promotion;
}

function fileOf(model: string): string {
  return `${MODELS}${model}.safetensors`;
}

function pieceOf(model: string): string {
  return `${MODELS}${model}.partial/`;
}
