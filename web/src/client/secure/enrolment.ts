/** How a device proves its identity, and knows the others (`hedgerow.client.secure.enrolment`). */

import type { Identity } from "../../secure/identity.ts";
import type { Bytes } from "../../types.ts";

/** Where the register is kept: `name = "64 hex digits"`, the public key of each client. */
export const REGISTER = "register.toml";

/** What a client has for masked rounds. */
export interface Enrolment {
  readonly identity: Identity;
  /** Public identity keys of all clients, by name. */
  readonly pinned: ReadonlyMap<string, Bytes>;
  /** Also accept clients that are not pinned, with the key they show first. */
  readonly trustOnFirstUse: boolean;
}
