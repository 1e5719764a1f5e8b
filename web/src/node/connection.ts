/** A connection to the coordinator: signed calls, one after another, by `fetch` (`hedgerow.node.connection`). */

import { inOneLine } from "../legible.ts";
import type { Bytes } from "../types.ts";
import type { NodeKey } from "./keys.ts";

const SECONDS = 60;
const AHEAD = 5, BEHIND = 300;
const LARGEST_REPLY = 64 * 2 ** 20;
const LONGEST_REASON = 300; // characters
const LONGEST_NAMED = 60; // seconds that a server may name

/** Names the promoted model's hash in each answer. */
export const MODEL = "hedgerow-model";

/** No answer, or one that says "later". */
export class Unreachable extends Error {
  /** To wait, if the server has said so. */
  readonly seconds: number;
  /** Of HTTP; 0 if there was no answer. */
  readonly status: number;

  constructor(text: string, seconds = 0, status = 0) {
    super(text);
    this.seconds = seconds;
    this.status = status;
  }
}

/** The server has refused. */
export class Denied extends Error {
  /** Of HTTP. */
  readonly status: number;

  constructor(status: number, text: string) {
    super(`the server refuses (${status}): ${text}`);
    this.status = status;
  }
}

/** The page is asked to end while it works or waits. */
export class Stopped extends Error {}

/**
 * How long to wait between attempts: up to twice as long each time, at random, so that devices that were cut off
 * together do not all come back at once.
 */
export class Backoff {
  readonly #first: number;
  readonly #longest: number;
  #next: number;

  constructor(first = 0.5, longest = 60) {
    this.#first = this.#next = first;
    this.#longest = longest;
  }

  /** Seconds to wait next; at least `least`. */
  seconds(least = 0): number {
    const upTo = this.#next;
    this.#next = Math.min(2 * upTo, this.#longest);
    return Math.max(least, upTo / 2 + uniform() * upTo / 2);
  }

  /** Start over, after a successful attempt. */
  reset(): void {
    this.#next = this.#first;
  }
}

/** Throws `RangeError` if it is not an address, or is one on another machine without TLS. */
export function checkAddress(address: string): URL {
  let parts: URL | undefined;
  try {
    parts = new URL(address);
  } catch {
    // told below
  }
  if (!parts || !["http:", "https:"].includes(parts.protocol) || parts.pathname !== "/" || parts.search || parts.hash) {
    throw new RangeError(`the address is '${address}'; it must be https://HOST:PORT`);
  }
  if (parts.protocol === "http:" && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(parts.hostname)) {
    throw new RangeError(
      `the address is '${address}'; for another machine it must be https://, because the signature of a call protects`
        + " nothing else in it",
    );
  }
  return parts;
}

export type Fetch = (address: string, how: RequestInit) => Promise<Response>;

/** What a call may have beside its path and body. */
export interface Call {
  readonly kind?: string;
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  /** Ends the call: it then throws `Stopped`. */
  readonly signal?: AbortSignal;
}

/** Bytes of bodies, both ways. */
export class Counted {
  up = 0;
  down = 0;
}

/** What connections of one device have in common. */
export interface Calling {
  readonly fetch: Fetch;
  readonly counted: Counted;
}

/** Calls of one node; throws `RangeError` if the address is invalid. */
export class Connection {
  readonly #address: URL;
  readonly #key: NodeKey;
  readonly #calling: Calling;
  readonly #seconds: number;
  #kept = false;
  /** Seconds until the next poll, from the last answer; `undefined` if it said nothing. */
  pace: number | undefined;
  /** Hash of the coordinator's promoted model, from the last answer; empty if it named none. */
  model = "";
  /** Seconds by which this device's clock is ahead of the server's; `undefined` if that is not known. */
  ahead: number | undefined;

  constructor(address: string, key: NodeKey, calling: Calling, seconds = SECONDS) {
    this.#address = checkAddress(address);
    this.#key = key;
    this.#calling = calling;
    this.#seconds = seconds;
  }

  /**
   * Make a call, and return the answer's body. Throws `Unreachable` if there is no answer, or the server is busy or
   * starting, and `Denied` if it refuses.
   */
  async call(path: string, body: Bytes, call: Call = {}): Promise<Bytes> {
    for (;;) {
      const kept = this.#kept;
      this.#kept = false;
      try {
        const found = await this.#answer(path, body, call);
        this.#kept = true;
        return found;
      } catch (error) {
        if (error instanceof Denied || error instanceof Unreachable) throw error;
        if (call.signal?.aborted) throw new Stopped("the device is asked to end");
        const late = error instanceof DOMException && error.name === "TimeoutError";
        // Servers close idle connections, so try once more on a new one.
        if (!kept || late) throw new Unreachable(`${this.#address.host} does not answer: ${why(error)}`);
      }
    }
  }

  async #answer(path: string, body: Bytes, { kind, method, headers, signal }: Call): Promise<Bytes> {
    const { fetch, counted } = this.#calling, late = AbortSignal.timeout(1000 * this.#seconds);
    const answer = await fetch(new URL(path, this.#address).href, {
      method: method ?? "POST",
      body: body.length ? body : undefined,
      headers: { "content-type": kind ?? "application/protobuf", ...headers, ...await this.#key.headers() },
      signal: signal ? AbortSignal.any([late, signal]) : late,
      cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer",
    });
    counted.up += body.length;
    const data = await bodyOf(answer), told = answer.headers;
    counted.down += data.length;
    this.ahead = ahead(told.get("date") ?? "");
    const pace = told.get("hedgerow-pace");
    this.pace = pace ? seconds(pace) : undefined;
    this.model = told.get(MODEL) ?? "";
    if (answer.status === 200) return data;
    const text = reason(data);
    if (answer.status === 408 || answer.status === 429 || answer.status >= 500) {
      const wait = seconds(told.get("retry-after") ?? "0");
      throw new Unreachable(`${this.#address.host} is busy (${answer.status}): ${text}`, wait, answer.status);
    }
    throw new Denied(answer.status, text);
  }
}

/** Whether a server takes calls from a machine whose clock is so many seconds ahead. */
export function isRight(ahead: number): boolean {
  return -BEHIND < ahead && ahead < AHEAD + 1; // a server tells its time in whole seconds
}

/** The body, which must not be too large: a server must not fill this device's memory. Throws `TypeError`. */
export async function bodyOf(answer: Response, largest = LARGEST_REPLY): Promise<Bytes> {
  const parts: Uint8Array[] = [], from = answer.body?.getReader();
  let size = 0;
  for (;;) {
    const { done, value } = await from?.read() ?? { done: true };
    if (done || !value) break;
    size += value.length;
    if (size > largest) {
      await from?.cancel();
      throw new TypeError(`an answer of more than ${largest} bytes`);
    }
    parts.push(value);
  }
  const whole = new Uint8Array(size);
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

function ahead(date: string): number | undefined {
  const time = Date.parse(date);
  return Number.isNaN(time) ? undefined : (Date.now() - time) / 1000;
}

/** The seconds that a server has named, within limits. */
function seconds(text: string): number {
  const named = Number(text);
  return Number.isNaN(named) ? 0 : Math.min(Math.max(named, 0), LONGEST_NAMED);
}

/** A server's reason for refusing, as a short text. */
function reason(data: Bytes): string {
  let text = new TextDecoder().decode(data.subarray(0, 2000));
  try {
    const found = JSON.parse(text) as Record<string, unknown> | null;
    text = String(found?.error ?? found?.detail ?? found?.public_message ?? text);
  } catch {
    // a text
  }
  return inOneLine(text, LONGEST_REASON) || "no reason given";
}

/** Why there was no answer: a browser says nothing more, so that no page can look around in a network. */
function why(error: unknown): string {
  const { message, cause } = error as Error & { cause?: { message?: string } };
  return cause?.message || message;
}

function uniform(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] / 2 ** 32;
}
