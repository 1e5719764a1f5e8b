/** A policy as a one-page text for people to read (`hedgerow.client.policy_file`). */

import * as checks from "../checks.ts";
import { didYouMean } from "../near.ts";
import { isTable, type Json, type JsonTable } from "../wire/text.ts";
import { float, repr, represented } from "../wording.ts";
import { GraphRules } from "./graph_rules.ts";
import { Limits } from "./limits.ts";
import { ENROLLED, Policy, PolicyError, type Rules } from "./policy.ts";
import { readToml } from "./toml.ts";

/** Its name among what a device keeps. */
export const NAME = "policy.toml";

const PAGE: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ["What the device answers.", {
    masked_only: "sends no update in the clear",
    evaluate: "evaluates a model on its data; under a mask if the strategy masks",
    statistics: "reveals loss and number of samples in the clear",
    most_answers: "updates, and models evaluated, in all runs together",
    models: "fetches the model that its coordinator has promoted",
  }],
  ["Secure aggregation: what a masked round must withstand.", {
    min_clients: "smallest cohort",
    corrupt: "fraction of a cohort that may collude with the server",
    failure_bits: "the chance that it does not withstand them is at most 2^-40",
  }],
  ["Noise, in units of what one client, or one sample, can change.", {
    client_noise: "added by all clients together, under the mask",
    sample_noise: "in each step of training",
  }],
  ["What the answers of all runs together may reveal.", {
    delta: "well below 1 / clients and 1 / samples",
    client_epsilon: "about the device, by clients' noise",
    sample_epsilon: "about each sample, by noise in training",
  }],
  ["What a run may name.", {
    recipes: "only these: packaged ones, or files on this device",
    data: "beside the device's own",
    strategies: "only these hashes, see: hedgerow policy test",
  }],
  ["Graphs, by which it trains without torch: code of a kind. None is taken that is not listed.", {
    "graphs.hashes": "these, see: hedgerow export",
    "graphs.keys": "and those that are signed by one of these",
    "graphs.megabytes": "memory that a run of one may take",
    "graphs.in_the_clear": 'without mask or noise: a graph could return the data as "parameters"',
  }],
];

const LIMITS: Readonly<Record<string, string>> = {
  memory: "megabytes that it may allocate, from its next start",
  threads: "processor cores that it computes on, from its next start",
  temperature: "degrees Celsius from which it takes no new work",
  on_mains: "takes new work only while the machine does not run on its battery",
  unmetered: "takes new work only while NetworkManager says that the link is not metered",
  quiet: 'hours without new work, in local time, such as "22:00-06:00"',
};

/** Rules that are whole numbers, with their bounds; the others of the kind are floats. */
const WHOLE: Readonly<Record<string, readonly [number, number?]>> = {
  most_answers: [1], min_clients: [3], failure_bits: [20, 128], "graphs.megabytes": [1], memory: [128], threads: [1],
};
const LISTS = ["recipes", "data", "strategies", "hashes", "keys", "quiet"];
const NO_GRAPHS = new GraphRules(), NO_LIMITS = new Limits();

/** The policy that a text tells. Throws `PolicyError` if it cannot be read, or has a key or a value not allowed. */
export function readPolicy(text: string): Policy {
  try {
    const given = { ...rulesOf(readToml(text), ENROLLED, "rule") };
    const graphs = () => rulesOf(tableOf(given, "graphs"), NO_GRAPHS, "rule", "graphs.");
    if ("graphs" in given) given.graphs = new GraphRules(graphs());
    if ("limits" in given) given.limits = new Limits(rulesOf(tableOf(given, "limits"), NO_LIMITS, "limit"));
    return new Policy(given as Partial<Rules>);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new PolicyError(`${NAME} cannot be read: ${error.message}; the device answers nothing`);
  }
}

/** The text of a policy: every rule with its value; a rule that sets no limit is a comment. */
export function policyText({ rules }: Policy): string {
  const lines = ["# What this device answers. Nothing that a server sends can relax it."];
  for (const [title, about] of PAGE) lines.push("", `# ${title}`, ...linesOf(rules, about));
  lines.push("", "# What it gives of its machine, and when; a coordinator learns only that it is not there.");
  lines.push("[limits]", ...linesOf(rules.limits, LIMITS));
  return `${lines.join("\n")}\n`;
}

function linesOf(rules: object, page: Readonly<Record<string, string>>): string[] {
  return Object.entries(page).map(([name, about]) => {
    const value = name.split(".").reduce((found, part) => (found as Record<string, unknown>)[part], rules as unknown);
    const shown = value === null ? `# ${name} = ...` : `${name} = ${toml(value, name)}`;
    return `${shown.padEnd(28)}  # ${about}${value === null ? ", no limit" : ""}`;
  });
}

function toml(value: unknown, name: string): string {
  if (Array.isArray(value)) return `[${value.map((each) => JSON.stringify(each)).join(", ")}]`;
  if (typeof value === "number") return name in WHOLE ? String(value) : float(value);
  return String(value);
}

/** The rules of a table, as numbers and lists of texts. Throws `RangeError` for one that does not exist. */
function rulesOf(table: JsonTable, known: object, called: string, prefix = ""): Record<string, any> {
  const names = Object.keys(known), found: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(table)) {
    if (!names.includes(key)) {
      const there = names.map((name) => prefix + name).join(", ");
      throw new RangeError(
        `there is no ${called} ${represented(prefix + key)}; there is ${there}.${didYouMean(key, names)}`,
      );
    }
    if (LISTS.includes(key) && !Array.isArray(value)) {
      throw new RangeError(`${prefix}${key} is ${repr(value)}; it must be a list of strings`);
    }
    found[key] = prefix + key in WHOLE ? checks.integer(prefix + key, value, ...WHOLE[prefix + key]) : value;
  }
  return found;
}

function tableOf(rules: Record<string, Json>, name: string): JsonTable {
  if (!isTable(rules[name])) {
    throw new RangeError(`${name} is ${repr(rules[name])}; it must be a table, [${name}]`);
  }
  return rules[name];
}
