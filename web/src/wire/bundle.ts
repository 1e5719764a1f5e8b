/** A small content bundled in one record, and a small message that is all in its envelope. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { type Bytes, PayloadError } from "../types.ts";
import { decode } from "./codec.ts";
import { type AnyRecord, ConfigRecord, type Content } from "./content.ts";

/** Name of the single record of a bundled answer. */
export const NAME = "hedgerow.bundle";

/** Keys of the description: the server reads bundles; the id of an answer that goes in its envelope. */
export const READS = "bundles", REPLY = "reply";

/** Most bytes in a bundle, and in an answer that goes in its envelope. */
export const MOST = 2 ** 20, MOST_ANSWERED = 2 ** 16;

const CONTENT = "content", ENVELOPES = "envelopes";
const HEAD = bytesToHex(sha256(new TextEncoder().encode("hedgerow.envelope"))).slice(0, 16);

/** The answer with these bytes, as one record; it also says that this node reads messages in envelopes. */
export function bundled(data: Bytes): Content {
  return new Map([[NAME, new ConfigRecord().set(CONTENT, data).set(ENVELOPES, true)]]);
}

/** Unpack a request whose record `name` may contain its other records. Throws `PayloadError`. */
export function opened(content: Content, name: string): Content {
  const record = content.get(name), data = record instanceof ConfigRecord ? record.get(CONTENT) : undefined;
  if (!(record instanceof ConfigRecord) || !(data instanceof Uint8Array)) return content;
  if (content.size !== 1) throw new PayloadError(`a bundled request must be one record; there are ${content.size}`);
  const others = new Map<string, AnyRecord>(decode(data as Bytes));
  if (others.has(name)) throw new PayloadError(`a bundled request has ${name} twice`);
  return others.set(name, new ConfigRecord([...record].filter(([key]) => key !== CONTENT)));
}

/** Decode a content that is sent in one piece. Throws `PayloadError`, for more than `MOST` bytes too. */
export function small(data: Bytes): Content {
  if (data.length > MOST) {
    throw new PayloadError(`the message has ${data.length} bytes in one piece; at most ${MOST} are read`);
  }
  return decode(data);
}

/** Whether a message of this id is in its envelope, with no objects. */
export function inEnvelope(id: unknown): boolean {
  return typeof id === "string" && id.startsWith(HEAD) && /^[0-9a-f]{64}$/.test(id);
}
