/** Whether graphs are those of a run: its model, its loss, its way of training, and what stays on a device. */

import type { Split } from "../strategies/split.ts";
import type { LocalTraining } from "../training.ts";
import type { Layout, Model } from "../types.ts";
import { represented, shown } from "../wording.ts";
import { type Graphs, TRAIN } from "./bundle.ts";
import { BadGraphs } from "./errors.ts";
import { personalStart } from "./personal.ts";
import { OF_A_STEP, signatureOf } from "./signature.ts";

/** The loss of each kind of task. */
const LOSSES: Readonly<Record<string, string>> = { classification: "cross_entropy", regression: "squared_error" };

/** What graphs must agree with. */
export interface Run {
  readonly strategy: {
    readonly local: LocalTraining;
    readonly streams: readonly { readonly correction?: unknown }[];
    split(layout: Layout): Split;
  };
  /** Of its task: `classification` or `regression`. */
  readonly kind: string;
  /** Fingerprint of its model's layout. */
  readonly layout: string;
  readonly seed: bigint;
}

/**
 * The model from which personal layers start, where there are some. Throws `BadGraphs`, naming what differs, and
 * `RangeError` if the run's personal layers are none of the model's.
 */
export function checkRun(graphs: Graphs, { strategy, kind, layout, seed }: Run): Model | undefined {
  const found = signatureOf(graphs.manifestOf(TRAIN), "train"), { local } = strategy;
  const differing: readonly (readonly [string, unknown, unknown])[] = [
    ...OF_A_STEP.map((name) => [name, found.local?.fields[name], local.fields[name]] as const),
    ["loss", found.loss, LOSSES[kind] ?? ""],
    ["the model's layout", found.layout.fingerprint, layout],
  ];
  for (const [name, given, wanted] of differing) {
    if (equal(given, wanted)) continue;
    throw new BadGraphs(`${name} is ${shown(given)} in the graphs, and ${shown(wanted)} in the run`);
  }
  const inputs = {
    correction: strategy.streams.some(({ correction }) => correction !== undefined), start: local.proximal > 0,
    velocity: local.momentum > 0, first_moment: local.optimizer === "adam",
  };
  for (const [name, needed] of Object.entries(inputs)) {
    if (needed === found.inputs.has(name)) continue;
    const does = needed ? "does not take" : "takes";
    throw new BadGraphs(`the graph that trains ${does} ${represented(name)}, unlike the run's training`);
  }
  return personalStart(graphs, strategy.split(found.layout), seed);
}

/** Whether two settings are equal in Python, where 1 equals 1.0. */
export function equal(one: unknown, other: unknown): boolean {
  const [a, b] = [one, other].map((each) => (typeof each === "bigint" ? Number(each) : each));
  return a === b;
}
