/** Damaged messages to a decoder: 10,000, or as many as HEDGEROW_FUZZ says. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Refused } from "../src/secure/errors.ts";
import { type Bytes, PayloadError } from "../src/types.ts";
import { counting, mutations } from "./mutations.ts";
import { hex } from "./support.ts";

export const TIMES = Number(process.env.HEDGEROW_FUZZ ?? 10_000);
const SPARE = 512; // bytes: what a decoder needs for itself

Error.stackTraceLimit = 0; // millions of errors need none

/** Damage messages that `decoder` reads; `size` is what a message has in all, where the bytes are a part of it. */
export function fuzz(
  name: string, good: readonly Bytes[], decoder: (data: Bytes) => unknown, size = (data: Bytes) => data.length,
): void {
  test(`${TIMES} damaged messages to ${name} are read or refused, with no more memory than twice the message`, () => {
    assert.ok(good.length > 0);
    for (const data of good) decoder(data);
    let left = TIMES, refused = 0;
    counting((taken) => {
      for (const data of mutations(name, good)) {
        if (left-- === 0) break;
        const before = taken();
        try {
          decoder(data);
        } catch (error) {
          if (!isRefusal(error)) assert.fail(`${hex(data)}: ${error}`);
          refused++;
        }
        const bytes = taken() - before;
        if (bytes > 2 * size(data) + SPARE) assert.fail(`${bytes} bytes for ${data.length}: ${hex(data)}`);
      }
    });
    assert.ok(refused > TIMES / 20, `${refused} of ${TIMES} are refused`);
  });
}

/** A decoder of which errors of these kinds are refusals too. */
export function refusing<T>(
  decoder: (data: Bytes) => T, ...kinds: readonly (new (...given: never[]) => Error)[]
): (data: Bytes) => T {
  return (data) => {
    try {
      return decoder(data);
    } catch (error) {
      throw kinds.some((kind) => error instanceof kind) ? new RangeError((error as Error).message) : error;
    }
  };
}

/** Whether an error says what is wrong with a message; one of a stack or length that overflows does not. */
export function isRefusal(error: unknown): boolean {
  if (error instanceof RangeError) return !/^(Invalid|Maximum|Array buffer)/.test(error.message);
  return error instanceof PayloadError || error instanceof Refused;
}
