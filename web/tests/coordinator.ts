/** A coordinator as a phone's calls see it, in this process, for what a real one does not do when it is asked to. */

import { sha256 } from "@noble/hashes/sha2.js";
import type { Fetch } from "../src/node/connection.ts";
import type { Bytes } from "../src/types.ts";
import * as codec from "../src/wire/codec.ts";
import { ConfigRecord, type Content } from "../src/wire/content.ts";
import { decodeFleet, encodeFleet } from "../src/wire/fleet.ts";
import type { Message } from "../src/wire/protobuf.ts";
import { hex } from "./support.ts";

const HEAD = hex(sha256(new TextEncoder().encode("hedgerow.envelope"))).slice(0, 16);

/** Hands out what is waiting, and keeps the replies; `fails` may answer a call in its place. */
export class Coordinator {
  /** Paths that were called, oldest first. */
  readonly called: string[] = [];
  readonly replies: Message[] = [];
  readonly waiting: Message[] = [];
  joining: { status: number; body: unknown } = {
    status: 200, body: { node_id: 7, register: null, trust: "first-use", name: "phone-1", federation: "0".repeat(16) },
  };
  fails: (path: string) => Response | Error | undefined = () => undefined;
  #number = 0;

  /** Ask the node something, in an envelope. */
  ask(kind: string, round: string, content: Content): void {
    const id = HEAD + String(++this.#number).padStart(48, "0"), reply = HEAD + "f".repeat(48);
    const said = content.get("hedgerow.description");
    if (said instanceof ConfigRecord) said.set("reply", reply);
    const metadata: Message = {
      run_id: 5n, message_id: id, src_node_id: 1n, dst_node_id: 7n, group_id: round, message_type: kind, ttl: 60,
      created_at: Date.now() / 1000,
    };
    this.waiting.push({ metadata, content: codec.encode(content) });
  }

  readonly fetch: Fetch = async (address, how) => {
    const path = new URL(address).pathname, name = path.split("/").at(-1) ?? "";
    this.called.push(name);
    const failed = this.fails(path);
    if (failed instanceof Error) throw failed;
    if (failed) return failed;
    if (path === "/join") return Response.json(this.joining.body, { status: this.joining.status });
    if (path === "/register") return Response.json({ register: null, trust: "first-use" });
    if (path === "/leave") return Response.json({});
    const body = how.body ? Uint8Array.from(how.body as Bytes) : new Uint8Array(0);
    return new Response(await this.#answer(name, body), { headers: { "hedgerow-pace": "0.01" } });
  };

  async #answer(name: string, body: Bytes): Promise<Bytes> {
    if (name === "send-node-heartbeat") return encodeFleet("SendNodeHeartbeatResponse", { success: true });
    if (name === "pull-messages") {
      const message = this.waiting.shift(), id = (message?.metadata as Message | undefined)?.message_id;
      const trees = id === undefined ? [] : [{ object_id: id, children: [] }];
      const found = { messages_list: message ? [message] : [], message_object_trees: trees };
      return encodeFleet("PullMessagesResponse", found);
    }
    if (name === "push-messages") {
      this.replies.push(...decodeFleet("PushMessagesRequest", body).messages_list as Message[]);
      return encodeFleet("PushMessagesResponse", { objects_to_push: [], session_id: "s" });
    }
    return new Uint8Array(0);
  }
}
