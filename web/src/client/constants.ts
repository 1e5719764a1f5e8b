/** The constants of models, kept by hash, so that a device is sent them only once (`hedgerow.client.constants`). */

import { readTable, type Store, written } from "../node/store.ts";
import { Refused } from "../secure/errors.ts";
import { type Bytes, bytesOf, hashConstants, type Layout, PayloadError, type Vector } from "../types.ts";
import type { TrainRequest } from "../wire/messages.ts";

/** Where a device keeps models' constants. */
export interface KeptConstants {
  /** The constants with this hash; nothing if they are no longer kept. */
  load(hash: string): Promise<Vector | undefined>;
  save(hash: string, constants: Vector): Promise<void>;
}

/**
 * The request with the model's constants: saved if they came with it, loaded if it only names them. Throws
 * `LacksConstants` if they are not here, and `PayloadError` if those that were sent do not have the hash named.
 */
export async function completed(request: TrainRequest, layout: Layout, kept: KeptConstants): Promise<TrainRequest> {
  const named = request.constants, sent = request.model.constants;
  if (!layout.constants.length || !named) return request;
  if (!/^[0-9a-f]{64}$/.test(named)) {
    throw new PayloadError("the name of the model's constants must be 64 hex digits");
  }
  if (sent.length) {
    if (hashConstants(sent) !== named) {
      throw new PayloadError("the model's constants do not have the hash that the request names");
    }
    await kept.save(named, sent);
    return request;
  }
  const constants = await kept.load(named);
  if (constants?.length !== layout.constantSize || hashConstants(constants) !== named) {
    const short = named.slice(0, 12);
    throw new Refused("LacksConstants", `the model's constants ${short} are not here; they have to be sent`);
  }
  return { ...request, model: { ...request.model, constants } };
}

const KEPT = 2, FOLDER = "constants/", LISTED = "constants.json";

/** Keeps those of the last two models in a device's store, whatever the run. */
export class StoredConstants implements KeptConstants {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async load(hash: string): Promise<Vector | undefined> {
    const found = await this.#store.get(FOLDER + hash);
    return found && found.length % 4 === 0 ? new Float32Array(found.slice().buffer) : undefined;
  }

  async save(hash: string, constants: Vector): Promise<void> {
    const before = ((await readTable(this.#store, LISTED))?.hashes ?? []) as string[];
    const hashes = [hash, ...before.filter((each) => each !== hash)];
    const old = hashes.slice(KEPT).map((each): [string, undefined] => [FOLDER + each, undefined]);
    await this.#store.put(new Map<string, Bytes | undefined>([
      ...old, [FOLDER + hash, bytesOf(constants).slice()], [LISTED, written({ hashes: hashes.slice(0, KEPT) })],
    ]));
  }
}
