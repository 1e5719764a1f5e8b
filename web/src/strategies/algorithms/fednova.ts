/** FedNova: updates divided by the reach of their steps (arXiv:2007.07481): see `...algorithms.fednova`. */

import * as checks from "../../checks.ts";
import type { Number_ } from "../../wording.ts";
import { repr } from "../../wording.ts";
import { type Condition, excludes, needs, within } from "../conditions.ts";
import { assemble, before, localOf, type Parts, pipelineOf } from "../parts.ts";
import { floats } from "../pipeline/payload_checks.ts";
import { NO_STATE, type Transform, transform } from "../pipeline/transform.ts";
import type { Options } from "../presets.ts";
import type { Strategy } from "../strategy.ts";
import type { Stream } from "../streams.ts";

/** FedNova: beside its delta a client sends one number, the reach of its steps. */
export function fednova(options: Options, parts: Parts): Strategy {
  checks.positive("server_learning_rate", options.server_learning_rate);
  const { fields } = localOf(parts), pull = sum(fields.proximal as Number_, fields.weight_decay as Number_);
  const divided = divideByReach(fields.momentum as Number_, pull, fields.learning_rate as Number_);
  const pipeline = before([divided], pipelineOf(parts));
  const streams = [reaches(Number(fields.momentum), Number(pull))];
  return assemble("fednova", { ...parts, pipeline }, { streams });
}

/** The sum as Python has it: whole only if both are. */
function sum(one: Number_, other: Number_): Number_ {
  if (typeof one === "bigint" && typeof other === "bigint") return one + other;
  return Number(one) + Number(other);
}

/** Divide a delta by the reach of the client's local steps. */
function divideByReach(momentum: Number_, pull: Number_, learningRate: Number_): Transform {
  return transform({
    name: `divide_by_reach(${repr(momentum)}, ${repr(pull)}, ${repr(learningRate)})`,
    kinds: ["normalize"],
    summable: true,
    encode(payload, _, { steps = 0 }) {
      const far = Math.fround(reach(steps, Number(momentum), Number(pull), Number(learningRate)));
      return [payload.replace(floats(payload).map((value) => value / far)), NO_STATE];
    },
  });
}

/** `||a||_1` of so many SGD steps: how far a gradient of 1 moves a value, in learning rates. */
export function reach(steps: number, momentum: number, pull: number, learningRate: number): number {
  let moved = 0, velocity = 0;
  for (let step = 0; step < steps; step++) {
    velocity = momentum * velocity + 1 - pull * learningRate * moved;
    moved += velocity;
  }
  return moved;
}

function reaches(momentum: number, pull: number): Stream {
  return {
    name: "reach",
    size: () => 1,
    served: () => 0,
    encode: ({ steps, learningRate }) => [Float32Array.of(reach(steps, momentum, pull, learningRate)), NO_STATE],
    sends: true,
    masked: true,
    conditions: CONDITIONS,
  };
}

const CONDITIONS: readonly Condition[] = within(
  "fednova does not fit here",
  needs(["sgd"], "the reach of {local.optimizer}'s steps is not known; use optimizer 'sgd'"),
  excludes(["clip_gradient"], "a clipped gradient reaches less far than assumed; leave out clip_gradient"),
  {
    broken: ({ local }) => local.learningRateDecay !== 1 && (local.proximal > 0 || local.weightDecay > 0),
    reason: "with a proximal term or weight decay, the learning rate must be constant; leave out its decay",
  },
  excludes(
    ["noise", "discrete noise"],
    "reaches would be sent without noise, next to what {pipeline.name} protects; use dp_fedavg, whose clip bounds a"
      + " client that takes many steps",
  ),
  needs(["linear"], "reaches are averaged, which admits outliers that {aggregate.name} keeps out; use mean()"),
);
