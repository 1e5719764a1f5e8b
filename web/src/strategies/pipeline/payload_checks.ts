/** Checks of the values that are encoded or decoded. */

import { type Numbers, type Payload, PayloadError, type Vector } from "../../types.ts";

/** One array of a payload, of one of these kinds. Throws `PayloadError`. */
export function take<A extends Numbers>(payload: Payload, name: string, ...kinds: (new (n: number) => A)[]): A {
  const array = payload.arrays.get(name);
  for (const kind of kinds) if (array instanceof kind) return array;
  throw new PayloadError(`the array '${name}' is missing, or is no ${kinds.map((kind) => kind.name).join(" or ")}`);
}

/** The values of a payload before anything has made integers of them. */
export function floats(payload: Payload): Vector {
  return take<Vector>(payload, "values", Float32Array);
}

/** Refuse to encode values that are not finite: a `RangeError` that names the step and the first of them. */
export function requireFinite(step: string, values: Vector): void {
  const at = values.findIndex((value) => !Number.isFinite(value));
  if (at < 0) return;
  const wrong = values.reduce((count, value) => count + Number(!Number.isFinite(value)), 0);
  throw new RangeError(
    `${step}: ${wrong} of ${values.length} values are not finite; the first is ${values[at]} at position ${at}.`
      + " Training has diverged: try a smaller learning rate",
  );
}
