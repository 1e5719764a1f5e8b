/** Streams: what is sent beside the delta, as far as a client computes it (`hedgerow.strategies.streams`). */

import type { Arrays, Fit, Layout, RoundContext, Vector } from "../types.ts";
import { type Condition, excludes } from "./conditions.ts";
import { NO_STATE } from "./pipeline/transform.ts";

/** What a client knows of a stream before it trains. */
export interface Before {
  /** The server's value. */
  readonly server: Vector;
  /** The client's state of this stream; empty for a new client. */
  readonly state: Arrays;
  readonly layout: Layout;
  /** The first round of the latest series of answers that did not count; 0 if the last one counted. */
  readonly uncountedSince: number;
}

/** What a client knows when it encodes a stream. */
export interface LocalRound {
  readonly server: Vector;
  readonly state: Arrays;
  /** The result of training, before the delta is compressed. */
  readonly fit: Fit;
  readonly context: RoundContext;
  readonly steps: number;
  readonly learningRate: number;
  readonly uncountedSince: number;
}

/** One vector that is sent beside the delta. */
export interface Stream {
  readonly name: string;
  /** Number of values that a client sends. */
  readonly size: (layout: Layout) => number;
  /** What is sent, and the client's new state. */
  readonly encode: (local: LocalRound) => readonly [Vector, Arrays];
  /** Size of the server's value, by default the same. */
  readonly served?: (layout: Layout) => number;
  /** What is added to each gradient. */
  readonly correction?: (before: Before) => Vector;
  /** Whether clients send anything. */
  readonly sends: boolean;
  /** Whether it may be summed under a mask. */
  readonly masked: boolean;
  readonly conditions: readonly Condition[];
}

/** Size of the server's value, which a request must have. */
export function servedSize(stream: Stream, layout: Layout): number {
  return (stream.served ?? stream.size)(layout);
}

/** A stream's conditions, and one more: nothing is sent in the clear beside a protected delta. */
export function conditionsOfStream({ name, sends, masked, conditions }: Stream): readonly Condition[] {
  if (!sends) return conditions;
  const reason = `the stream '${name}' would be sent in the clear, next to what {pipeline.name} protects; leave out`
    + " mask and noise, or use another strategy, such as fedavg";
  return [...conditions, excludes(["noise", "discrete noise", ...(masked ? [] : ["mask"])], reason)];
}

/** Floating-point buffers, such as BatchNorm's statistics: part of the model. */
export const BUFFERS: Stream = {
  name: "buffers",
  size: (layout) => layout.bufferSize,
  encode: ({ fit }) => [fit.buffers, NO_STATE],
  sends: true,
  masked: false,
  conditions: [],
};
