/** Run a pipeline: encode a delta on the client, and decode what the client itself has encoded. */

import { type Arrays, Payload, PayloadError, type RoundContext, type Vector } from "../../types.ts";
import { requireFinite, take } from "./payload_checks.ts";
import type { Transform } from "./transform.ts";

/**
 * Encode a client's delta `(d,) float32`; returns the payload and the client's new state. Throws `RangeError`
 * if the delta has a wrong length or is not finite.
 */
export function encode(
  pipeline: Transform, delta: Vector, state: Arrays, context: RoundContext,
): readonly [Payload, Arrays] {
  const d = context.layout.dimension;
  if (delta.length !== d) throw new RangeError(`the delta has ${delta.length} values; it must have ${d}`);
  requireFinite("the delta", delta);
  return pipeline.encode(new Payload(new Map([["values", delta]])), state, context);
}

/** Decode a payload into a delta `(d,) float32`. Throws `PayloadError`. */
export function decode(pipeline: Transform, payload: Payload, context: RoundContext): Vector {
  const found = pipeline.decode(payload, context.layout.dimension, context);
  const values = take<Vector | Float64Array<ArrayBuffer>>(found, "values", Float32Array, Float64Array);
  if (values.length !== context.layout.dimension) {
    throw new PayloadError(`there are ${values.length} values; there must be ${context.layout.dimension}`);
  }
  return values instanceof Float32Array ? values : Float32Array.from(values);
}
