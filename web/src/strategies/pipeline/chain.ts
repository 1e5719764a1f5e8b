/** Sequences of steps: `chain` encodes from left to right and decodes from right to left. */

import type { Arrays, Numbers } from "../../types.ts";
import { refuseImpossible } from "./ordering.ts";
import { type Protection, type Transform, transform } from "./transform.ts";

/** Join steps. Throws `RangeError` if their order cannot work. */
export function chain(...steps: readonly Transform[]): Transform {
  if (steps.length === 1) return steps[0];
  refuseImpossible(steps);
  return transform({
    name: steps.length ? `chain(${steps.map((step) => step.name).join(", ")})` : "float32()",
    kinds: steps.flatMap((step) => step.kinds),
    encode(payload, state, context) {
      const after = new Map<string, Numbers>();
      steps.forEach((step, position) => {
        const [next, kept] = step.encode(payload, below(state, `${position}.`), context);
        payload = next;
        for (const [name, values] of kept) after.set(`${position}.${name}`, values);
      });
      return [payload, after];
    },
    decode(payload, n, context) {
      const lengths = steps.map((step) => {
        const before = n;
        n = step.length(n);
        return before;
      });
      return steps.reduceRight((found, step, i) => step.decode(found, lengths[i], context), payload);
    },
    length: (n) => steps.reduce((length, step) => step.length(length), n),
    summable: steps.every((step) => step.summable),
    stateful: steps.some((step) => step.stateful),
    contractive: steps.every((step) => step.contractive),
    maxWeight: steps.reduce((most, step) => most * step.maxWeight, 1),
    protection: together(steps.map((step) => step.protection)),
  });
}

/** The arrays whose names begin with a prefix, without it. */
export function below(state: Arrays, prefix: string): Arrays {
  const found = [...state].filter(([name]) => name.startsWith(prefix));
  return new Map(found.map(([name, values]) => [name.slice(prefix.length), values]));
}

function together(parts: readonly Protection[]): Protection {
  const maxInt = (before: number) => parts.reduce((largest, part) => part.maxInt(largest), before);
  const maxSum = (before: number, clients: number, n: number) => {
    let total = clients * before, largest = before;
    for (const part of parts) {
      if (part.maxSum) total = part.maxSum(largest, clients, n);
      largest = part.maxInt(largest);
    }
    return total;
  };
  const secure = parts.find((part) => part.secure)?.secure;
  const noise = parts.find((part) => part.noise)?.noise;
  const serverClip = parts.findLast((part) => part.serverClip)?.serverClip; // noise is calibrated to the last clip
  return {
    maxInt,
    ...(parts.some((part) => part.maxSum) ? { maxSum } : {}),
    ...(secure ? { secure: noise ? secure.under(noise.minHonest) : secure } : {}),
    ...(serverClip ? { serverClip } : {}),
    ...(noise ? { noise } : {}),
  };
}
