/** Samples that a client holds out for evaluation, and never trains on (`hedgerow.datasets.held_out`). */

import { blake2b } from "@noble/hashes/blake2.js";
import * as checks from "../checks.ts";
import { generator } from "../rng.ts";
import { bytesOf } from "../types.ts";
import type { Samples } from "./own_data.ts";

/** Where a split belongs. */
export interface Split {
  readonly fraction: number;
  /** `random` and `time` go by a sample's position, `row` by its contents. */
  readonly by: string;
  readonly client: string;
  readonly seed: bigint;
}

/** Positions to train on, and positions held out, in order. */
export function holdOut(samples: Samples, { fraction, by, client, seed }: Split): [number[], number[]] {
  checks.oneOf("held_out_by", by, ["random", "time", "row"]);
  checks.inside("held_out", fraction);
  const n = samples.targets.length, held: boolean[] = new Array(n).fill(false);
  if (by === "time") {
    const first = n - Math.max(1, halfToEven(fraction * n));
    held.forEach((_, i) => (held[i] = i >= first));
    if (n && held.every(Boolean)) held[0] = false;
  } else {
    const words = by === "row" ? rows(samples) : [...generator(seed, "hold out", { client }).raw(n)];
    const limit = BigInt(fraction * 2 ** 64);
    words.forEach((word, i) => (held[i] = word < limit));
    if (by === "random" && n && !held.includes(true)) held[place(words, (one, other) => one < other)] = true;
    if (by === "random" && n && !held.includes(false)) held[place(words, (one, other) => one > other)] = false;
  }
  const all = [...held.keys()];
  return [all.filter((i) => !held[i]), all.filter((i) => held[i])];
}

/** A hash of each sample, so that equal ones are on the same side on every device. */
function rows({ inputs, targets, shape }: Samples): bigint[] {
  const size = shape.reduce((all, side) => all * side, 1);
  return Array.from({ length: targets.length }, (_, i) => {
    const hash = blake2b.create({ dkLen: 8 });
    hash.update(bytesOf(inputs.subarray(i * size, (i + 1) * size)));
    hash.update(bytesOf(targets.subarray(i, i + 1)));
    return new DataView(hash.digest().buffer).getBigUint64(0, true);
  });
}

function place(words: readonly bigint[], before: (one: bigint, other: bigint) => boolean): number {
  return words.reduce((found, word, i) => (before(word, words[found]) ? i : found), 0);
}

/** As Python rounds. */
function halfToEven(value: number): number {
  const whole = Math.floor(value), over = value - whole;
  return over > 0.5 || (over === 0.5 && whole % 2) ? whole + 1 : whole;
}
