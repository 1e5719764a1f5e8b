/** FedDyn's gradients (arXiv:2111.04263, algorithm 1): see `hedgerow.strategies.algorithms.feddyn`. */

import * as checks from "../../checks.ts";
import type { Arrays, Numbers, Vector } from "../../types.ts";
import { excludes, needs, within } from "../conditions.ts";
import { assemble, localOf, type Parts, weightedOf } from "../parts.ts";
import type { Options } from "../presets.ts";
import type { Strategy } from "../strategy.ts";
import type { Stream } from "../streams.ts";
import { vectorOf } from "./scaffold.ts";

/** FedDyn: nothing is sent beside the delta; all clients count the same. */
export function feddyn(options: Options, parts: Parts): Strategy {
  const alpha = checks.positive("alpha", options.alpha), local = localOf(parts).with({ proximal: options.alpha });
  const chosen = { ...parts, local, weighted: weightedOf(parts, false) };
  return assemble("feddyn", chosen, { streams: [gradients(alpha)] });
}

function gradients(alpha: number): Stream {
  const factor = Math.fround(alpha);
  return {
    name: "gradient",
    size: () => 0,
    encode({ state, fit, uncountedSince, context }) {
      const before = own(state, fit.delta.length, uncountedSince);
      const next = before.map((value, i) => value - Math.fround(factor * fit.delta[i]));
      const kept = new Map<string, Numbers>([
        ["own", next], ["counted", before], ["round", BigInt64Array.of(BigInt(context.round))],
      ]);
      return [new Float32Array(0), kept];
    },
    correction: ({ state, layout, uncountedSince }) =>
      own(state, layout.dimension, uncountedSince).map((value) => -value),
    sends: false,
    masked: false,
    conditions: CONDITIONS,
  };
}

/** `g_k` as the server has counted it: if the last answer did not count, the one before it. */
function own(state: Arrays, d: number, uncountedSince: number): Vector {
  if (!state.has("own")) return new Float32Array(d);
  const lost = uncountedSince > 0 && uncountedSince <= Number((state.get("round") as BigInt64Array)[0]);
  return vectorOf(state, lost ? "counted" : "own") ?? new Float32Array(d);
}

const CONDITIONS = within(
  "feddyn does not fit here",
  needs(["sgd"], "it adds to the gradients, which {local.optimizer} rescales; use optimizer 'sgd'"),
  excludes(["weight"], "the server's state is the unweighted mean over all clients; use weighted=False"),
  excludes(
    ["noise", "discrete noise"],
    "a client's state affects later rounds, which the ledger does not count; use fedavg",
  ),
);
