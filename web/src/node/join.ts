/** How a device joins a federation, and leaves it (`hedgerow.node.join`). */

import { bytesToHex } from "@noble/hashes/utils.js";
import { isLegibleName } from "../legible.ts";
import { type Bytes, utf8 } from "../types.ts";
import { VERSION } from "../version.ts";
import { type Calling, Connection, Denied } from "./connection.ts";
import { Device, nodeKey } from "./device.ts";
import { takeRegister } from "./identities.ts";
import { deviceIdentity } from "./identity.ts";
import { Outbox } from "./outbox.ts";
import { SENTENCES } from "./sentences.ts";
import type { Vault } from "./store.ts";
import { pause } from "./waiting.ts";

const COLLECTED_SECONDS = 5;
const JSON_KIND = "application/json";
/** How a coordinator says that this page is too old, or too new; what it says to do is for other devices. */
const VERSIONS = /accepts one minor version more or less/;

/** What the code that a person scans holds, after the `#` of the page's address. */
export interface Invitation {
  /** Of the coordinator, `https://host:port`. */
  readonly address: string;
  readonly token: string;
  /** Of the device; a phone without one is given it. */
  readonly name?: string;
  /** Public key that signs the register of identities, 64 hex digits, where there is one. */
  readonly administrator?: string;
  /** Of the coordinator's certificate, to show where the browser does not trust it. */
  readonly ca?: string;
  readonly fingerprint?: string;
  /** What will be learned, in one sentence. */
  readonly task?: string;
}

/** The coordinator does not let the device in; the error says why, and what to do. */
export class NotJoined extends Error {}

/**
 * Make a device's keys in its store, and register their public halves with the coordinator; where its answer was lost,
 * it can be repeated with the same invitation. Throws `NotJoined` if the coordinator refuses, `Unreachable` if it does
 * not answer, `RangeError` if the address is invalid, and `Malformed` if the register is not its administrator's.
 */
export async function join(invitation: Invitation, store: Vault, calling: Calling): Promise<Device> {
  if (await Device.open(store)) throw new NotJoined("this phone takes part in a federation already; leave it first");
  const key = await nodeKey(store), identity = bytesToHex((await deviceIdentity(store)).public);
  const { address, token, name = "" } = invitation;
  const connection = new Connection(address, key, calling);
  const asked = { hedgerow: VERSION, token, name, node_key: new TextDecoder().decode(key.public), identity };
  const answer = await ask(connection, address, asked);
  const { node_id: node, name: given = name, federation } = answer;
  const named = typeof given === "string" && given && isLegibleName(given);
  if (typeof node !== "bigint" || !named || !/^[0-9a-f]{16}$/.test(String(federation))) {
    throw new NotJoined(`${address} does not answer like a coordinator; is the address right?`);
  }
  const trusted = { federation: String(federation), administrator: invitation.administrator };
  const administrator = await takeRegister(store, trusted, answer);
  return await Device.make(store, {
    federation: trusted.federation, name: given, address, administrator, node: String(node), since: Date.now() / 1000,
    up: calling.counted.up, down: calling.counted.down,
  });
}

/**
 * Take a device out of its federation, and erase its keys and everything it remembers. Throws `Unreachable` if the
 * coordinator does not answer: nothing is erased then, unless `anyway`.
 *
 * @returns why the coordinator has refused to hear of it, or an empty text.
 */
export async function leave(device: Device, calling: Calling, anyway = false): Promise<string> {
  await waitForCollection(device);
  const connection = new Connection(device.enrolled.address, device.key, calling);
  let refused = "";
  try {
    await connection.call("/leave", utf8("{}"), { kind: JSON_KIND });
  } catch (error) {
    if (!(error instanceof Denied) && !anyway) throw error;
    refused = (error as Error).message;
  }
  await device.store.erase();
  return refused;
}

/** The coordinator's answer to a device that wants to join. Throws `NotJoined`, and `Unreachable`. */
async function ask(
  connection: Connection, address: string, asked: Readonly<Record<string, string>>,
): Promise<Record<string, unknown>> {
  try {
    return readAnswer(await connection.call("/join", utf8(JSON.stringify(asked)), { kind: JSON_KIND }));
  } catch (error) {
    if (error instanceof Denied && VERSIONS.test(error.message)) throw new NotJoined(SENTENCES.version());
    if (error instanceof Denied) throw new NotJoined(`${error.message}${REMEDIES[error.status] ?? ""}`);
    if (!(error instanceof SyntaxError)) throw error;
    throw new NotJoined(`${address} does not answer like a coordinator: ${error.message}`);
  }
}

/** A table in JSON; whole numbers of a node's id are `bigint`, as they may be above 2**53. Throws `SyntaxError`. */
export function readAnswer(data: Bytes): Record<string, unknown> {
  const text = new TextDecoder().decode(data).replace(/("node_id":\s*)(\d{1,20})(?=\s*[,}])/, '$1"$2"');
  const found: unknown = JSON.parse(text);
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    throw new SyntaxError("it is not a table of names and values");
  }
  const { node_id: node, ...others } = found as Record<string, unknown>;
  return typeof node === "string" && /^\d{1,20}$/.test(node) ? { ...others, node_id: BigInt(node) } : others;
}

/** A reply is lost if its node is unregistered before the server has collected it. */
async function waitForCollection(device: Device): Promise<void> {
  const made = await new Outbox(device.store).lastMade(), wait = made + COLLECTED_SECONDS - Date.now() / 1000;
  if (wait > 0 && wait <= COLLECTED_SECONDS) await pause(wait);
}

const REMEDIES: Readonly<Record<number, string>> = {
  403: "; an invitation is good for as many phones as it says, and for a time: ask for a new one",
  409: "; another device has joined under this name, or this one has joined before: ask for another invitation",
};
