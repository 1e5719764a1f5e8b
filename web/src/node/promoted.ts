/** A device fetches its coordinator's promoted model, between messages (`hedgerow.node.promoted`). */

import { Delivered, NotTaken } from "../promotion/delivered.ts";
import { isDigest, type Promotion } from "../promotion/lineage.ts";
import { Denied } from "./connection.ts";
import type { Fleet } from "./fleet.ts";
import { SENTENCES } from "./sentences.ts";
import type { Store } from "./store.ts";

const AGAIN_SECONDS = 300;
/** Time for fetching pieces before the next poll, which the coordinator may hold open. */
const AT_ONCE_SECONDS = 1;

/** What the fetching of models needs to know, and tells. */
export interface Following {
  /** Whether the device's owner takes promoted models. */
  takes(): Promise<boolean>;
  has(promotion: Promotion): void;
  left(sentence: string): void;
}

/** Fetches the promoted model, some pieces at a time, so that no round is kept waiting. */
export class PromotedModel {
  readonly #delivered: Delivered;
  readonly #following: Following;
  #stands = "";
  #left = "";
  #until = 0;

  constructor(store: Store, following: Following) {
    this.#delivered = new Delivered(store);
    this.#following = following;
  }

  /**
   * Take a step, if the coordinator names another model; returns whether the next is due at once. Where it throws
   * `Unreachable`, the next call continues where this one stopped.
   */
  async follow(fleet: Fleet): Promise<boolean> {
    const wanted = fleet.model, now = performance.now() / 1000;
    if (wanted === this.#stands || !isDigest(wanted)) return false;
    if (wanted === this.#left && now < this.#until) return false;
    if (await this.#delivered.has(wanted)) {
      this.#stands = wanted;
      return false;
    }
    let promotion: Promotion | undefined;
    try {
      if (!await this.#following.takes()) return this.#leave(wanted, SENTENCES.models());
      do promotion = await this.#delivered.fetch((path) => fleet.get(path));
      while (!promotion && performance.now() / 1000 < now + AT_ONCE_SECONDS);
    } catch (error) {
      if (!(error instanceof Denied) && !(error instanceof NotTaken)) throw error;
      return this.#leave(wanted, SENTENCES.rejected(error.message));
    }
    if (!promotion) return true;
    this.#stands = promotion.model;
    this.#following.has(promotion);
    return false;
  }

  /** Leave a model for now, and try again after a while. */
  #leave(model: string, why: string): boolean {
    if (model !== this.#left) this.#following.left(why);
    this.#left = model;
    this.#until = performance.now() / 1000 + AGAIN_SECONDS;
    return false;
  }
}
