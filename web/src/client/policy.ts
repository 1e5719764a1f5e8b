/**
 * What a device answers: its owner's rules, checked against the strategy that a run resolves to; nothing in a run can
 * relax them (`hedgerow.client.policy`).
 */

import * as checks from "../checks.ts";
import type { Event } from "../privacy/events.ts";
import { Refused } from "../secure/errors.ts";
import { strategyHash, type Strategy } from "../strategies/strategy.ts";
import { general, represented, repr } from "../wording.ts";
import { GraphRules } from "./graph_rules.ts";
import { IN_THE_CLEAR, KNOWN, NAMES } from "./kinds.ts";
import { Limits } from "./limits.ts";

const NOISE_RULES = ["client_noise", "sample_noise", "client_epsilon", "sample_epsilon"] as const;

/** A policy, or record of answers, that cannot be trusted: the device then answers nothing. */
export class PolicyError extends Error {}

/** The rules of a device, by the names of its file; `null` sets no limit. */
export interface Rules {
  readonly masked_only: boolean;
  readonly evaluate: boolean;
  readonly statistics: boolean;
  readonly most_answers: number | null;
  readonly models: boolean;
  readonly min_clients: number;
  readonly corrupt: number;
  readonly failure_bits: number;
  readonly client_noise: number;
  readonly sample_noise: number;
  readonly delta: number;
  readonly client_epsilon: number | null;
  readonly sample_epsilon: number | null;
  readonly recipes: readonly string[] | null;
  readonly data: readonly string[];
  readonly strategies: readonly string[];
  readonly graphs: GraphRules;
  readonly limits: Limits;
}

/** Those of a device that was enrolled, as a phone is. */
export const ENROLLED: Rules = {
  masked_only: true, evaluate: false, statistics: false, most_answers: null, models: true, min_clients: 10,
  corrupt: 0.2, failure_bits: 40, client_noise: 0, sample_noise: 0, delta: 1e-5, client_epsilon: null,
  sample_epsilon: null, recipes: null, data: [], strategies: [], graphs: new GraphRules(), limits: new Limits(),
};

/** The rules of one device. Throws `RangeError` if a value is out of range. */
export class Policy {
  readonly rules: Rules;

  constructor(given: Partial<Rules> = {}) {
    const rules: { -readonly [name in keyof Rules]: Rules[name] } = { ...ENROLLED, ...given };
    for (const name of ["masked_only", "evaluate", "statistics", "models"] as const) {
      if (typeof rules[name] !== "boolean") {
        throw new RangeError(`${name} is ${repr(rules[name])}; it must be true or false`);
      }
    }
    rules.min_clients = checks.whole("min_clients", rules.min_clients, 3);
    rules.failure_bits = checks.whole("failure_bits", rules.failure_bits, 20, 128);
    rules.corrupt = checks.probability("corrupt", rules.corrupt);
    for (const name of ["client_noise", "sample_noise"] as const) rules[name] = checks.notNegative(name, rules[name]);
    rules.delta = checks.inside("delta", rules.delta);
    for (const name of ["client_epsilon", "sample_epsilon"] as const) {
      if (rules[name] !== null) rules[name] = checks.positive(name, rules[name]);
    }
    if (rules.most_answers !== null) rules.most_answers = checks.whole("most_answers", rules.most_answers, 1);
    for (const name of ["recipes", "data", "strategies"] as const) {
      const texts = rules[name];
      if (texts !== null && !texts.every((text) => typeof text === "string" && text)) {
        throw new RangeError(`${name} is ${repr(texts)}; it must be a list of strings`);
      }
    }
    this.rules = rules;
  }

  /** Refuse a message that breaks a rule, naming each; earlier spending is not considered. */
  check(kind: string, strategy: Strategy): void {
    const broken = this.refusals(kind, strategy);
    if (broken.length) throw new Refused("AgainstPolicy", broken.join("; "));
  }

  /** Every rule that a message breaks, with the reason. */
  refusals(kind: string, strategy: Strategy): string[] {
    const asked = { rules: this.rules, kind, strategy };
    const rules = NAMES.includes(kind) ? MESSAGE_RULES : [...MESSAGE_RULES, ...STRATEGY_RULES];
    return rules.map(([name, rule]) => [name, rule(asked)]).filter(([, why]) => why).map(([name, why]) =>
      `rule ${name}: ${why}`);
  }
}

/** The event of one update in the account of the client that sends it; none if clients add no noise. */
export function clientEvent(strategy: Strategy): Event | undefined {
  const { noise } = strategy.pipeline.protection;
  return noise?.minHonest && strategy.sumOnly ? noise.event : undefined;
}

interface Asked {
  readonly rules: Rules;
  readonly kind: string;
  readonly strategy: Strategy;
}

/** Whether the device is asked how well a model does on its data, without noise. */
function measures({ kind }: Asked): boolean {
  return kind.startsWith("evaluate");
}

/** Whether what it tells goes into a masked sum. */
function hidden({ kind, strategy }: Asked): boolean {
  return strategy.sumOnly && KNOWN.includes(kind) && !IN_THE_CLEAR.includes(kind);
}

function evaluates(asked: Asked): string {
  if (!measures(asked)) return "";
  if (!asked.rules.evaluate) return "the device does not evaluate models for others";
  const noise = NOISE_RULES.filter((name) => asked.rules[name]);
  return noise.length ? `an evaluation is reported without the noise required by ${noise.join(", ")}` : "";
}

function queries({ kind, rules }: Asked): string {
  const refused = kind.startsWith("query.") && !rules.statistics;
  return refused ? "the device tells its name, and nothing about its data" : "";
}

function messages({ kind }: Asked): string {
  const refused = !kind.startsWith("query") && !KNOWN.includes(kind);
  return refused ? `there is no message ${represented([...kind].slice(0, 60).join(""))}` : "";
}

function clear({ kind, rules, strategy }: Asked): string {
  if (!rules.masked_only) return "";
  if (kind === "train") return "the device sends no update in the clear";
  if (kind === "evaluate") return "the device tells nothing that it measures in the clear";
  return strategy.sumOnly ? "" : "the strategy does not mask";
}

function statistics(asked: Asked): string {
  if (asked.rules.statistics || hidden(asked)) return "";
  if (measures(asked)) return "an evaluation in the clear reveals loss and number of samples";
  const told = !asked.strategy.sumOnly && !asked.strategy.local.sampleNoise;
  return told ? "an update in the clear reveals loss and number of samples" : "";
}

function minClients({ rules, strategy }: Asked): string {
  const found = strategy.pipeline.protection.secure?.assumptions.minClients, least = rules.min_clients;
  if (found === undefined || found >= least) return "";
  return `the run has cohorts of ${found} clients; at least ${least} are required`;
}

function corrupt({ rules, strategy }: Asked): string {
  const found = strategy.pipeline.protection.secure?.assumptions.corrupt, least = rules.corrupt;
  if (found === undefined || found >= least) return "";
  return `the run tolerates a corrupt fraction of ${general(found)}; it must tolerate ${general(least)}`;
}

function failureBits({ rules, strategy }: Asked): string {
  const found = strategy.pipeline.protection.secure?.assumptions.failureBits, least = rules.failure_bits;
  if (found === undefined || found >= least) return "";
  return `the run's protocol may fail with 2^-${found}; at most 2^-${least} is allowed`;
}

function clientNoise({ rules, strategy }: Asked): string {
  const least = rules.client_noise, { noise } = strategy.pipeline.protection;
  if (!least) return "";
  if (!noise || !clientEvent(strategy)) {
    return `clients add no noise under a mask; a multiplier of at least ${general(least)} is required`;
  }
  const found = noise.multiplier;
  return found >= least ? "" : `clients' noise multiplier is ${general(found)}; it must be ${general(least)} or more`;
}

function sampleNoise({ rules, strategy }: Asked): string {
  const found = strategy.local.sampleNoise, least = rules.sample_noise;
  return found >= least ? "" : `sample_noise is ${general(found)}; it must be ${general(least)} or more`;
}

function clientEpsilon({ rules, strategy }: Asked): string {
  const refused = rules.client_epsilon !== null && !clientEvent(strategy);
  return refused ? "the device has a budget, and clients add no noise under a mask" : "";
}

function sampleEpsilon({ rules, strategy }: Asked): string {
  const refused = rules.sample_epsilon !== null && !strategy.local.sampleNoise;
  return refused ? "the device has a budget, and local training adds no noise" : "";
}

function listed({ rules, strategy }: Asked): string {
  const found = strategyHash(strategy);
  return !rules.strategies.length || rules.strategies.includes(found) ? "" : `the strategy ${found} is not listed`;
}

type Rule = readonly [string, (asked: Asked) => string];

const MESSAGE_RULES: readonly Rule[] = [["evaluate", evaluates], ["statistics", queries], ["messages", messages]];

const STRATEGY_RULES: readonly Rule[] = [
  ["masked_only", clear], ["statistics", statistics], ["min_clients", minClients], ["corrupt", corrupt],
  ["failure_bits", failureBits], ["client_noise", clientNoise], ["sample_noise", sampleNoise],
  ["client_epsilon", clientEpsilon], ["sample_epsilon", sampleEpsilon], ["strategies", listed],
];
