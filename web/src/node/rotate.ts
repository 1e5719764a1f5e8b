/** How a device changes its key, and keeps its identity (`hedgerow.node.rotate`). */

import { type Bytes, utf8 } from "../types.ts";
import { type Calling, Connection, Denied } from "./connection.ts";
import type { Device } from "./device.ts";
import { NotJoined, readAnswer } from "./join.ts";
import { base64, type NodeKey } from "./keys.ts";

/**
 * Make a new key, and have the coordinator replace the present one with it; returns the device with its new key. If the
 * page is closed at any moment, the next call continues. Throws `NotJoined` if the coordinator refuses, and
 * `Unreachable` if it does not answer: the present key then stays.
 */
export async function rotate(device: Device, calling: Calling): Promise<Device> {
  const { key, begun } = await device.nextKey();
  let node: bigint;
  try {
    node = await ask(device, calling, key, device.key);
  } catch (error) {
    if (!(error instanceof Denied)) throw error;
    // The coordinator may know the new key from an earlier call whose answer was lost.
    if (!begun || error.status !== 401) {
      await device.settleKey(false);
      throw new NotJoined(`${error.message}; the present key stays`);
    }
    node = await toldBefore(device, calling, key);
  }
  const changed = await device.settleKey(true);
  await changed.change({ node: String(node) });
  return changed;
}

/** What a device's present key signs to be replaced by another key, a PEM. */
export function rotationMessage(federation: string, name: string, key: string): Bytes {
  return utf8(`hedgerow node key 1\n${federation}\n${key}${name}`);
}

/** The node's id, if the coordinator has accepted the new key and its answer was lost. */
async function toldBefore(device: Device, calling: Calling, key: NodeKey): Promise<bigint> {
  try {
    return await ask(device, calling, key, key);
  } catch (error) {
    if (!(error instanceof Denied)) throw error;
    throw new NotJoined(`${error.message}; neither key is known: leave, and join with a new invitation`);
  }
}

async function ask({ enrolled }: Device, calling: Calling, next: NodeKey, signs: NodeKey): Promise<bigint> {
  const key = new TextDecoder().decode(next.public), { address, federation, name } = enrolled;
  const signature = base64(await signs.sign(rotationMessage(federation, name, key)));
  const asked = utf8(JSON.stringify({ node_key: key, signature }));
  const connection = new Connection(address, signs, calling);
  const answer = await connection.call("/rotate", asked, { kind: "application/json" });
  const { node_id: node } = readAnswer(answer);
  if (typeof node !== "bigint") throw new NotJoined(`${address} does not answer like a coordinator`);
  return node;
}
