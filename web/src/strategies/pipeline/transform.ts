/** One step of the update pipeline, as in `hedgerow.strategies.pipeline.transform`: what a client needs of it. */

import type { Gaussian, Skellam } from "../../privacy/events.ts";
import type { SecureAggregation } from "../../ring/secagg.ts";
import type { Arrays, Payload, RoundContext } from "../../types.ts";

export type Kind = "weight" | "normalize" | "clip" | "noise" | "feedback" | "sparsify" | "quantize"
  | "discrete noise" | "mask";

/** How a step relates to masks and noise. */
export interface Protection {
  /** Largest absolute value of the integers after the step, from that before it; 0 if they are not integers. */
  readonly maxInt: (before: number) => number;
  /** The same for a sum, from that before it and the numbers of clients and values; by default `clients` times one. */
  readonly maxSum?: (before: number, clients: number, n: number) => number;
  /** For a mask: what clients require. */
  readonly secure?: SecureAggregation;
  /** For a clip: its norm before the first round, and what an adaptive one spends on asking each client. */
  readonly serverClip?: { readonly norm: number; readonly share: number };
  readonly noise?: Noise;
}

/** What is added to a sum. */
export interface Noise {
  /** Standard deviation over the sensitivity. */
  readonly multiplier: number;
  /** Number of rounds over which noise is subtracted again. */
  readonly bands: number;
  /** The least number of honest clients whose noise makes a sum private; 0 if the server adds it. */
  readonly minHonest: number;
  /** What one sum costs; for Skellam noise at most that, whatever the number of values. */
  readonly event: Gaussian | Skellam;
}

/** The traits that a step gives to its pipeline, for the conditions of other parts. */
export function traitsOf({ kinds, protection, summable, stateful }: Transform): Set<string> {
  const { maxInt, secure, serverClip, noise } = protection, found = new Set<string>(kinds);
  if (maxInt(0) > 0) found.add("whole numbers");
  if (secure) found.add("mask");
  if (serverClip) found.add("bounded");
  if (serverClip?.share) found.add("adaptive clip");
  if (noise) found.add(noise.minHonest ? "discrete noise" : "noise");
  if (summable) found.add("summable");
  if (stateful) found.add("stateful");
  return found;
}

/** One step: `encode` runs on the client; `decode` reverses it as far as possible. */
export interface Transform {
  /** As written in a configuration, such as `quantize(8)`. */
  readonly name: string;
  /** What the step does; a chain has those of its steps. */
  readonly kinds: readonly Kind[];
  /** Returns the payload and the client's new state. Throws `RangeError` if values cannot be encoded. */
  readonly encode: (payload: Payload, state: Arrays, context: RoundContext) => readonly [Payload, Arrays];
  /** From the number of values before this step. Throws `PayloadError` if the arrays do not fit. */
  readonly decode: (payload: Payload, n: number, context: RoundContext) => Payload;
  /** Number of values after the step, from that before it. */
  readonly length: (n: number) => number;
  /** Decoding is linear, so that it may run once, on a sum. */
  readonly summable: boolean;
  /** The client keeps state from one round to the next. */
  readonly stateful: boolean;
  /** The error never exceeds the input, without which error feedback would not converge. */
  readonly contractive: boolean;
  /** The largest weight that the step assigns. */
  readonly maxWeight: number;
  readonly protection: Protection;
}

export const NO_STATE: Arrays = new Map();

type Given = Pick<Transform, "name" | "kinds"> & Partial<Transform>;

/** A step with what it declares; for the rest, one that changes nothing. */
export function transform(given: Given): Transform {
  return {
    encode: (payload) => [payload, NO_STATE],
    decode: (payload) => payload,
    length: (n) => n,
    summable: false,
    stateful: false,
    contractive: true,
    maxWeight: 1,
    protection: { maxInt: (before) => before },
    ...given,
  };
}
