/** The reply to a message, as Flower's own node would make it from the same answer (`hedgerow.node.reply`). */

import type { Bytes } from "../types.ts";
import { bundled, MOST, MOST_ANSWERED } from "../wire/bundle.ts";
import { decode, encode } from "../wire/codec.ts";
import { encodeFleet } from "../wire/fleet.ts";
import { add, children, type Objects, pack } from "../wire/objects.ts";
import type { Message } from "../wire/protobuf.ts";

/** Flower's code of a client that fails. */
const CLIENT_FAILED = 2n;

/** An answer to a message, and how its server takes it. */
export interface Answered {
  /** The answer's content, encoded; none if the message was refused. */
  readonly answer?: Bytes;
  /** Why it was refused. */
  readonly error?: string;
  /** When the answer was made, in seconds since 1970. */
  readonly made: number;
  /** Whether the server reads bundles. */
  readonly bundled?: boolean;
  /** The id of an answer in its envelope, if the server has named one. */
  readonly reply?: string;
}

/** A reply: its envelope, the tree of its objects, and these. */
export interface Reply {
  readonly message: Message;
  readonly tree: Message;
  readonly objects: Objects;
}

/** The reply to a message of this node; the same bytes each time. */
export function replyTo(asked: Message, come: Answered, node: bigint): Reply {
  const about = asked.metadata as Message, answer = come.answer ?? new Uint8Array(0), failed = come.error !== undefined;
  const metadata: Message = {
    run_id: about.run_id, src_node_id: node, dst_node_id: about.src_node_id, reply_to_message_id: about.message_id,
    group_id: about.group_id, message_type: about.message_type, created_at: come.made,
    ttl: (about.ttl as number) - (come.made - (about.created_at as number)),
    src_task_id: about.dst_task_id, dst_task_id: about.src_task_id,
  };
  const error = failed ? { code: CLIENT_FAILED, reason: come.error } : undefined;
  if (come.reply && answer.length <= MOST_ANSWERED) {
    const content = failed ? undefined : encode(bundled(answer));
    const message = { metadata: { ...metadata, message_id: come.reply }, content, error };
    return { message, tree: { object_id: come.reply }, objects: new Map() };
  }
  const [root, objects] = failed ? ["", new Map() as Objects] : pack(sent(answer, come.bundled));
  const below = failed ? [] : [treeOf(root, objects)];
  const top = add(objects, "Message", root ? [root] : [], encodeFleet("Message", { metadata, error }));
  const content = failed ? undefined : new Uint8Array(0);
  const message = { metadata: { ...metadata, message_id: top }, content, error };
  return { message, tree: { object_id: top, children: below }, objects };
}

function sent(answer: Bytes, asBundle = false) {
  return asBundle && answer.length <= MOST ? bundled(answer) : decode(answer);
}

function treeOf(root: string, objects: Objects): Message {
  const below = children(objects.get(root) ?? new Uint8Array(0));
  return { object_id: root, children: below.map((child) => treeOf(child, objects)) };
}
