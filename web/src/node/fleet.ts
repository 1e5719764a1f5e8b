/** Flower's Fleet API, as a node calls it (`hedgerow.node.fleet`). */

import { type Bytes, PayloadError } from "../types.ts";
import { decodeFleet, encodeFleet } from "../wire/fleet.ts";
import { objectId, type Objects } from "../wire/objects.ts";
import type { Message } from "../wire/protobuf.ts";
import { type Call, type Connection, Unreachable } from "./connection.ts";
import type { Reply } from "./reply.ts";
import { pause } from "./waiting.ts";

/** Seconds of silence after which a node counts as gone. */
export const INTERVAL = 30;

const MOST_OBJECTS = 100_000;
const WAIT_FIRST = 0.02, WAIT_LONGEST = 0.3, WAIT_SECONDS = 120;
const NONE: Bytes = new Uint8Array(0);

/** A message of which the server no longer has all objects. */
export class Lost extends Error {}

/** A message as it was handed out, and the tree of its objects. */
export interface Pulled {
  readonly message: Message;
  readonly tree: Message;
}

/** Calls of one node, which all throw `Unreachable`, `Denied` or, if `signal` ends them, `Stopped`. */
export class Fleet {
  readonly #connection: Connection;
  readonly #signal: AbortSignal | undefined;
  /** The node's id; 0 before it is active. */
  node: bigint;

  constructor(connection: Connection, node = 0n, signal?: AbortSignal) {
    this.#connection = connection;
    this.#signal = signal;
    this.node = node;
  }

  /** Seconds until the next poll; `undefined` if the server has not said. */
  get pace(): number | undefined {
    return this.#connection.pace;
  }

  /** Hash of the coordinator's promoted model; empty if there is none. */
  get model(): string {
    return this.#connection.model;
  }

  /** Fetch a path from the coordinator. */
  async get(path: string): Promise<Bytes> {
    return await this.#connection.call(path, NONE, { method: "GET", signal: this.#signal });
  }

  /** Report that the node is online. */
  async activate(key: Bytes): Promise<void> {
    const request = { public_key: key, heartbeat_interval: INTERVAL };
    const answer = await this.#call("activate-node", "ActivateNodeRequest", request, "ActivateNodeResponse");
    this.node = answer.node_id as bigint;
  }

  /** Report that the node is going offline, so that it may come back at once. */
  async deactivate(): Promise<void> {
    await this.#call("deactivate-node", "DeactivateNodeRequest", { node_id: this.node });
  }

  /** Report that the node is still online; returns whether the server agrees. */
  async heartbeat(): Promise<boolean> {
    const request = { node: this.#node, heartbeat_interval: INTERVAL };
    const reply = "SendNodeHeartbeatResponse";
    return Boolean((await this.#call("send-node-heartbeat", "SendNodeHeartbeatRequest", request, reply)).success);
  }

  /**
   * The next message; nothing if there is none. The server hands out each message once, so it must be kept before
   * anything is done with it. A coordinator waits some seconds for one to arrive.
   */
  async pull(): Promise<Pulled | undefined> {
    const call = { headers: { prefer: "wait=30" } }, request = { node: this.#node };
    const reply = await this.#call("pull-messages", "PullMessagesRequest", request, "PullMessagesResponse", call);
    const [message] = reply.messages_list as Message[], [tree] = reply.message_object_trees as Message[];
    return message?.metadata && tree ? { message, tree } : undefined;
  }

  /**
   * All objects of a tree. Throws `Lost` if the server no longer has one of them, and `PayloadError` if one does not
   * match its id.
   */
  async fetch(run: bigint, tree: Message): Promise<Objects> {
    const found: Objects = new Map();
    for (const each of ids(tree)) if (!found.has(each)) found.set(each, await this.#object(run, each));
    return found;
  }

  /** Send the parts of a reply that the server does not have yet; safe to repeat. */
  async push({ message, tree, objects }: Reply): Promise<void> {
    const request = { node: this.#node, messages_list: [message], message_object_trees: [tree] };
    const reply = await this.#call("push-messages", "PushMessagesRequest", request, "PushMessagesResponse");
    const wanted = new Set(reply.objects_to_push as string[]), run_id = (message.metadata as Message).run_id;
    for (const [object_id, object_content] of objects) {
      if (!wanted.has(object_id)) continue;
      const sent = { node: this.#node, run_id, object_id, object_content, session_id: reply.session_id };
      await this.#call("push-object", "PushObjectRequest", sent, "PushObjectResponse");
    }
  }

  /** Confirm that a message has arrived, so that the server can delete its objects. */
  async confirm(run: bigint, message: string): Promise<void> {
    const request = { node: this.#node, run_id: run, message_object_id: message };
    await this.#call("confirm-message-received", "ConfirmMessageReceivedRequest", request);
  }

  get #node(): Message {
    return { node_id: this.node };
  }

  async #object(run: bigint, each: string): Promise<Bytes> {
    const request = { node: this.#node, run_id: run, object_id: each };
    const until = performance.now() + 1000 * WAIT_SECONDS;
    for (let wait = WAIT_FIRST; performance.now() < until; wait = Math.min(2 * wait, WAIT_LONGEST)) {
      const reply = await this.#call("pull-object", "PullObjectRequest", request, "PullObjectResponse");
      if (!reply.object_found) break;
      if (reply.object_available) {
        const data = reply.object_content as Bytes;
        if (objectId(data) !== each) throw new PayloadError("an object of the message does not match its id");
        return data;
      }
      await pause(wait, ...(this.#signal ? [this.#signal] : []));
    }
    throw new Lost(`the server no longer has object ${each.slice(0, 16)}... of the message`);
  }

  async #call(name: string, kind: string, request: Message, reply?: string, call: Call = {}): Promise<Message> {
    const how = { ...call, signal: this.#signal };
    const data = await this.#connection.call(`/v1/fleet/${name}`, encodeFleet(kind, request), how);
    try {
      return reply === undefined ? {} : decodeFleet(reply, data);
    } catch (error) {
      if (!(error instanceof PayloadError)) throw error;
      throw new Unreachable(`the server's answer to ${name} cannot be read: ${error.message}`);
    }
  }
}

/** The ids of a tree. Throws `PayloadError` if there are too many, or one is invalid. */
function* ids(tree: Message): Generator<string> {
  const open = [tree];
  for (let count = 1; open.length; count++) {
    const { object_id: id, children } = open.pop() as Message;
    if (count > MOST_OBJECTS || (id as string).length !== 64) {
      throw new PayloadError("the message has too many objects, or invalid ids");
    }
    yield id as string;
    open.push(...children as Message[]);
  }
}
