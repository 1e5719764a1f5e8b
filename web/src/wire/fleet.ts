/** The messages between a node and a SuperLink: the part of Flower's Fleet API that a node needs. */

import { decode, encode, type Message, type Schema } from "./protobuf.ts";

const NODE = ["node", 1, "Node"] as const, RUN = ["run_id", 2, "uint64"] as const;
const OBJECT = ["object_id", 3, "string"] as const, TREES = ["message_object_trees", 3, "ObjectTree*"] as const;

/** Fields of each message; a test compares them with `hedgerow.wire.fleet`. */
export const FLEET: Schema = {
  Node: [["node_id", 1, "uint64"]],
  ObjectTree: [["object_id", 1, "string"], ["children", 2, "ObjectTree*"]],
  Metadata: [
    ["run_id", 1, "uint64"], ["message_id", 2, "string"], ["src_node_id", 3, "uint64"],
    ["dst_node_id", 4, "uint64"], ["reply_to_message_id", 5, "string"], ["group_id", 6, "string"],
    ["ttl", 7, "double"], ["message_type", 8, "string"], ["created_at", 9, "double"],
    ["src_task_id", 10, "uint64?"], ["dst_task_id", 11, "uint64?"],
  ],
  Error: [["code", 1, "sint64"], ["reason", 2, "string"]],
  Message: [["metadata", 1, "Metadata"], ["content", 2, "raw"], ["error", 3, "Error"]],
  RegisterNodeFleetRequest: [["public_key", 1, "bytes"]],
  RegisterNodeFleetResponse: [["node_id", 1, "uint64"]],
  ActivateNodeRequest: [["public_key", 1, "bytes"], ["heartbeat_interval", 2, "double"]],
  ActivateNodeResponse: [["node_id", 1, "uint64"]],
  DeactivateNodeRequest: [["node_id", 1, "uint64"]],
  UnregisterNodeFleetRequest: [["node_id", 1, "uint64"]],
  SendNodeHeartbeatRequest: [NODE, ["heartbeat_interval", 2, "double"]],
  SendNodeHeartbeatResponse: [["success", 1, "bool"]],
  PullMessagesRequest: [NODE],
  PullMessagesResponse: [["messages_list", 2, "Message*"], TREES],
  PushMessagesRequest: [NODE, ["messages_list", 2, "Message*"], TREES],
  PushMessagesResponse: [["objects_to_push", 3, "string*"], ["session_id", 4, "string"]],
  PullObjectRequest: [NODE, RUN, OBJECT],
  PullObjectResponse: [["object_found", 1, "bool"], ["object_available", 2, "bool"], ["object_content", 3, "bytes"]],
  PushObjectRequest: [NODE, RUN, OBJECT, ["object_content", 4, "bytes"], ["session_id", 5, "string"]],
  PushObjectResponse: [["stored", 1, "bool"]],
  ConfirmMessageReceivedRequest: [NODE, RUN, ["message_object_id", 3, "string"]],
};

/** A request's body. */
export function encodeFleet(name: string, message: Message) {
  return encode(FLEET, name, message);
}

/** An answer's body; fields that a newer Flower has are skipped. Throws `PayloadError`. */
export function decodeFleet(name: string, data: Uint8Array<ArrayBuffer>): Message {
  return decode(FLEET, name, data, "lenient");
}
