/** Error feedback: the compression error of one round is sent in later ones. */

import type { Numbers } from "../../types.ts";
import { below, chain } from "../pipeline/chain.ts";
import { floats } from "../pipeline/payload_checks.ts";
import { type Transform, transform } from "../pipeline/transform.ts";

/**
 * Add to each update what earlier rounds failed to send (Karimireddy et al. 2019, arXiv:1901.09847, algorithm 2).
 * State: `"residual"`, `(n,) float32`.
 */
export function errorFeedback(...steps: readonly Transform[]): Transform {
  if (!steps.length) throw new RangeError("error_feedback() has no steps; give at least one, such as top_k(0.01)");
  const inner = chain(...steps), name = `error_feedback(${steps.map((step) => step.name).join(", ")})`;
  steps.forEach(refuseInside);
  const { maxInt } = inner.protection;
  return transform({
    name,
    kinds: ["feedback", ...inner.kinds],
    encode(payload, state, context) {
      const update = floats(payload), residual = state.get("residual") ?? new Float32Array(update.length);
      if (!(residual instanceof Float32Array) || residual.length !== update.length) {
        throw new RangeError(
          `${name}: the residual has ${residual.length} values, the update ${update.length}: the model has changed`
            + " since; delete the client's state",
        );
      }
      const owed = state.has("residual") ? update.map((value, i) => value + residual[i]) : update;
      const [sent, kept] = inner.encode(payload.replace(owed), below(state, "inner."), context);
      const decoded = floats(inner.decode(sent, owed.length, context));
      const after = new Map<string, Numbers>([["residual", owed.map((value, i) => value - decoded[i])]]);
      for (const [key, values] of kept) after.set(`inner.${key}`, values);
      return [sent, after];
    },
    decode: inner.decode,
    length: inner.length,
    summable: inner.summable,
    stateful: true,
    protection: { maxInt },
  });
}

function refuseInside(step: Transform): void {
  const refuse = (why: string) => {
    throw new RangeError(`${step.name} cannot be inside error_feedback: ${why}`);
  };
  if (step.kinds.includes("feedback")) refuse("the second residual would always be zero; keep one of the two");
  if (step.kinds.some((kind) => kind !== "sparsify" && kind !== "quantize")) {
    refuse("only the errors of sparsifiers and quantisers can be sent in a later round; put it before or after");
  }
  if (!step.contractive) {
    refuse("its error can exceed its input, so the residual would grow from round to round");
  }
}
