/** How a device proves its identity in masked rounds, and knows the others (`hedgerow.client.secure.enrolment`). */

import type { Bytes } from "../../types.ts";

/** What a client received when it was enrolled. */
export interface Enrolment {
  /** Of its Ed25519 identity, 32 bytes. */
  readonly secret: Bytes;
  /** Public identity keys of all clients, by name. */
  readonly pinned: ReadonlyMap<string, Bytes>;
  /** Also accept clients that are not pinned, with the key they show first. */
  readonly trustOnFirstUse: boolean;
}
