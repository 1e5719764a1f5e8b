/** SCAFFOLD's control variates (arXiv:1910.06378, algorithm 1): see `hedgerow.strategies.algorithms.scaffold`. */

import * as checks from "../../checks.ts";
import type { Arrays, Numbers, Vector } from "../../types.ts";
import { type Condition, excludes, needs, within } from "../conditions.ts";
import { assemble, type Parts, weightedOf } from "../parts.ts";
import type { Options } from "../presets.ts";
import type { Strategy } from "../strategy.ts";
import type { Before, LocalRound, Stream } from "../streams.ts";

/** SCAFFOLD, option II; all clients count the same. */
export function scaffold(options: Options, parts: Parts): Strategy {
  checks.positive("server_learning_rate", options.server_learning_rate);
  return assemble("scaffold", { ...parts, weighted: weightedOf(parts, false) }, { streams: [controlVariates()] });
}

/** The server sends its variate with the model, a client returns the change of its own. */
export function controlVariates(): Stream {
  return {
    name: "control", size: (layout) => layout.dimension, encode: advance, correction, sends: true, masked: false,
    conditions: CONDITIONS,
  };
}

/** What is added to each gradient of a client: `c - c_i`; `c_i` starts as zeros. */
function correction({ server, state }: Before): Vector {
  const own = vectorOf(state, "own") ?? new Float32Array(server.length);
  if (own.length !== server.length) {
    throw new RangeError(
      `the client's control variate has ${own.length} values, the server's has ${server.length}: the model has changed`
        + " since; delete the client's state",
    );
  }
  return server.map((value, i) => value - own[i]);
}

/** A client's change since the variate that the server counted last, by option II. */
function advance(local: LocalRound): readonly [Vector, Arrays] {
  const { server, state, fit, uncountedSince } = local, round = Number((state.get("round") as BigInt64Array)?.[0] ?? 0);
  const own = vectorOf(state, "own") ?? new Float32Array(server.length);
  const lost = uncountedSince > 0 && uncountedSince <= round;
  const counted = lost ? vectorOf(state, "counted") ?? own : own;
  const reach = Math.fround(local.steps * local.learningRate);
  const next = own.map((value, i) => Math.fround(value - server[i]) - Math.fround(fit.delta[i] / reach));
  return [next.map((value, i) => value - counted[i]), new Map<string, Numbers>([
    ["own", next], ["counted", counted], ["round", BigInt64Array.of(BigInt(local.context.round))],
  ])];
}

/** An array of a stream's state. */
export function vectorOf(state: Arrays, name: string): Vector | undefined {
  const found = state.get(name);
  return found instanceof Float32Array ? found : undefined;
}

const NOT_GRADIENTS = "they are means of the local gradients, which follow from the model's change only for plain SGD;"
  + " use optimizer 'sgd' without momentum";

const CONDITIONS: readonly Condition[] = within(
  "control variates do not fit here",
  needs(["sgd"], NOT_GRADIENTS),
  excludes(["momentum"], NOT_GRADIENTS),
  excludes(
    ["proximal"], "they would mistake the proximal term's gradient for the data's; leave out proximal",
  ),
  excludes(["weight"], "the server's variate is the unweighted mean over all clients; use weighted=False"),
  excludes(
    ["noise", "discrete noise", "mask"],
    "they would be sent in the clear, next to what {pipeline.name} protects; use another strategy, such as fedavg",
  ),
  needs(
    ["linear"], "they are averaged, which admits outliers that {aggregate.name} keeps out; use mean()",
  ),
  excludes(["max_norm"], "max_norm bounds only the delta, but they move the model too; leave it out"),
);
