/** A strategy from its description: what a device needs to know in order to take part (`hedgerow.recipe.strategy`). */

import { didYouMean } from "../near.ts";
import { PARTS, type Parts } from "../strategies/parts.ts";
import { parseAggregate, parsePipeline, parseSampling } from "../strategies/pipeline/parse.ts";
import type { Transform } from "../strategies/pipeline/transform.ts";
import { PRESETS } from "../strategies/presets.ts";
import type { Strategy } from "../strategies/strategy.ts";
import { FIELDS, LocalTraining } from "../training.ts";
import { isTable, type Json, type JsonTable } from "../wire/text.ts";
import { repr, represented } from "../wording.ts";

const TEXTS = {
  pipeline: parsePipeline, downlink: plainDownlink, aggregate: parseAggregate, sampling: parseSampling,
} as const;
const PLAIN = ["weighted", "quorum", "max_weight", "max_norm", "norm_bound", "personal"];
const KEYS = ["preset", "options", "local", ...Object.keys(TEXTS), ...PLAIN];

/**
 * The strategy that a description describes. Throws `RangeError` if it describes none, if its parts do not fit
 * together, or if it names a part that this client does not have.
 */
export function build(description: Json): Strategy {
  if (!isTable(description)) throw new RangeError(`the description is ${repr(description)}; it must be a table`);
  checkKeys("the description", description, KEYS);
  const name = typeof description.preset === "string" ? description.preset : repr(description.preset ?? "");
  if (!Object.hasOwn(PRESETS, name)) {
    throw new RangeError(
      `there is no strategy ${represented(name)}; there is ${Object.keys(PRESETS).map(represented).join(", ")}.`
        + didYouMean(name, Object.keys(PRESETS)),
    );
  }
  const preset = PRESETS[name], options = table(description, "options"), local = table(description, "local");
  checkKeys("local", local, FIELDS);
  const parts: Record<string, unknown> = {};
  for (const key of PLAIN) if (key in description) parts[key] = description[key];
  for (const [key, parse] of Object.entries(TEXTS)) {
    if (!(key in description)) continue;
    const text = description[key];
    if (typeof text !== "string") {
      throw new RangeError(`${key} is ${repr(text)}; it must be a text such as 'mean()'`);
    }
    parts[key] = parse(text);
  }
  if (Object.keys(local).length) parts.local = new LocalTraining(local);
  const twice = Object.keys(options).filter((key) => KEYS.includes(key)).sort();
  if (twice.length) throw new RangeError(`options has ${repr(twice)}, which belong next to it`);
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(preset.options, key));
  if (unknown !== undefined) {
    const there = [...Object.keys(preset.options), ...PARTS], listed = there.map(represented).join(", ");
    throw new RangeError(
      `${name} cannot be built: ${name}() has no argument ${represented(unknown)}; it has ${listed}.`
        + didYouMean(unknown, there),
    );
  }
  return preset.make({ ...preset.options, ...options }, parts as Parts);
}

/** The only downlink that this client has: it takes a model as it is. Throws `RangeError` for any other. */
function plainDownlink(text: string): Transform {
  const step = parsePipeline(text);
  if (step.kinds.length) {
    throw new RangeError(`downlink is ${step.name}; it must be float32(): this client takes a model only as it is`);
  }
  return step;
}

function table(description: JsonTable, key: string): JsonTable {
  const value = key in description ? description[key] : {};
  if (!isTable(value)) throw new RangeError(`${key} is ${repr(value)}; it must be a table of arguments by name`);
  return value;
}

function checkKeys(what: string, given: JsonTable, allowed: readonly string[]): void {
  for (const key of Object.keys(given)) {
    if (!allowed.includes(key)) {
      const near = didYouMean(key, allowed);
      throw new RangeError(`${what} has the key ${represented(key)}; allowed are ${allowed.join(", ")}.${near}`);
    }
  }
}
