/** Messages that somebody has damaged, the same ones for a seed; and how much memory a call takes. */

import { generator, type Generator } from "../src/rng.ts";
import type { Bytes } from "../src/types.ts";
import { hex } from "./support.ts";

const NUMBERS = [0, 1, 2, 8, 0x0a, 0x12, 0x1a, 0x22, 0x62, 0x69, 0x73, 0x74, 0x7f, 0x80, 0xfe, 0xff];
const MOST_CHANGES = 4, LONGEST = 64;

/** Damaged copies of some messages, for ever. */
export function* mutations(purpose: string, messages: readonly Bytes[]): Generator_<Bytes> {
  const draws = generator(2026, `fuzz ${purpose}`), below = (n: number) => (n > 0 ? draws.word() % n : 0);
  for (;;) {
    let data = messages[below(messages.length)];
    for (let left = 1 + below(MOST_CHANGES); left > 0; left--) data = changed(data, messages, below, draws);
    yield data;
  }
}

/** Print damaged messages with what is read from them, for a comparison with Python: `KIND HEX READING`. */
export function printReadings(
  readers: Readonly<Record<string, readonly [readonly Bytes[], (data: Bytes) => string]>>, times: number,
): void {
  for (const [kind, [good, read]] of Object.entries(readers)) {
    let left = times;
    for (const data of mutations(`readings of ${kind}`, good)) {
      if (left-- === 0) break;
      let reading: string;
      try {
        reading = read(data);
      } catch (error) {
        reading = `refused: ${(error as Error).message}`;
      }
      console.log(`${kind} ${hex(data)} ${reading}`);
    }
  }
}

type Generator_<T> = globalThis.Generator<T, never>;

function changed(
  data: Bytes, messages: readonly Bytes[], below: (n: number) => number, draws: Generator,
): Bytes {
  const at = below(data.length + 1), size = below(Math.min(LONGEST, data.length - at) + 1);
  const before = data.subarray(0, at), after = data.subarray(at + size), copy = data.slice();
  switch (below(8)) {
    case 0: copy[at] ^= 1 << below(8); return copy;
    case 1: copy[at] = NUMBERS[below(NUMBERS.length)]; return copy;
    case 2: return joined(before, after);
    case 3: return joined(data.subarray(0, at + size), data.subarray(at));
    case 4: return before.slice();
    case 5: return joined(before, Uint8Array.from({ length: size }, () => draws.word()), after);
    case 6: return joined(before, messages[below(messages.length)].subarray(at));
    default: return joined(before, new Uint8Array(below(10)).fill(0xff), data.subarray(at));
  }
}

function joined(...parts: readonly Bytes[]): Bytes {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const KINDS = [
  "Int8Array", "Uint8Array", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array", "Float32Array", "Float64Array",
  "BigInt64Array", "BigUint64Array",
] as const;

/**
 * Run with a count of the bytes of all buffers and texts that are made meanwhile; a view of a buffer that is there
 * takes none.
 */
export function counting(run: (taken: () => number) => void): void {
  let total = 0;
  const before = KINDS.map((kind) => globalThis[kind]), all = Object.getPrototypeOf(Uint8Array.prototype);
  const { slice } = all, { decode } = TextDecoder.prototype;
  const counted = {
    construct(target: any, given: unknown[]): object {
      const made: any = Reflect.construct(target, given);
      if (!(given[0] instanceof ArrayBuffer)) total += made.byteLength;
      return made;
    },
  };
  KINDS.forEach((kind, i) => ((globalThis as any)[kind] = new Proxy(before[i], counted)));
  all.slice = function (...range: unknown[]) {
    const made = slice.apply(this, range);
    total += made.byteLength;
    return made;
  };
  TextDecoder.prototype.decode = function (...given) {
    const made = decode.apply(this, given);
    total += /[^\0-\xff]/.test(made) ? 2 * made.length : made.length;
    return made;
  };
  try {
    run(() => total);
  } finally {
    KINDS.forEach((kind, i) => ((globalThis as any)[kind] = before[i]));
    all.slice = slice;
    TextDecoder.prototype.decode = decode;
  }
}
