/** Which layers stay on each client: by the prefix of their names, or by a named rule. */

import * as checks from "../checks.ts";
import type { Layout } from "../types.ts";
import type { Json } from "../wire/text.ts";
import { repr, represented, tupled } from "../wording.ts";
import { calling, parseCall, type Registry } from "./pipeline/call.ts";
import { Split } from "./split.ts";

/** The only rule that is written without brackets. */
export const NORMS = "norms";

const NAMED = 12;

/** Names of a model's personal tensors. */
interface Rule {
  readonly of: (layout: Layout) => readonly string[];
}

const PERSONAL: Registry<Rule> = {
  kind: "personal rule",
  parts: { norms: calling([], norms), last: calling(["layers"], last) },
};

function norms(): Rule {
  return { of: (layout) => layout.norms };
}

/** The last trained layers, in the order in which the model defines them. */
function last(layers: unknown = 1n): Rule {
  const number = checks.integer("layers", layers, 1);
  return {
    of(layout) {
      const chosen = new Set([...new Set(layout.parameters.map(({ name }) => layerOf(name)))].slice(-number));
      return changedOf(layout).filter((name) => chosen.has(layerOf(name)));
    },
  };
}

/** The patterns of `personal`, given as one string or several. Throws `RangeError` for anything else. */
export function patternsOf(personal: Json): readonly string[] {
  const given = typeof personal === "string" ? [personal] : personal;
  if (!Array.isArray(given) || !given.every((text): text is string => typeof text === "string" && text !== "")) {
    throw new RangeError(
      `personal is ${repr(personal)}; it must be strings: prefixes of tensor names, such as ('head.',), 'norms' or`
        + " 'last(1)'",
    );
  }
  given.forEach(ruleOf);
  return given;
}

/** A model split into shared and personal tensors. Throws `RangeError` if a pattern fits nothing, or all. */
export function splitOf(layout: Layout, personal: readonly string[]): Split {
  const found = new Set<string>(), changed = changedOf(layout);
  for (const pattern of personal) {
    const fitting = ruleOf(pattern).of(layout).filter((name) => changed.includes(name));
    if (!fitting.length) {
      const more = changed.length > NAMED ? ` and ${changed.length - NAMED} more` : "";
      const listed = changed.slice(0, NAMED).map(represented).join(", ") + more;
      const what = pattern === NORMS ? "trains no norm layer" : `trains ${listed}`;
      throw new RangeError(
        `personal has ${represented(pattern)}, which matches nothing: the model ${what}; give a prefix of tensor names,`
          + " such as 'head.', or use 'last(1)'",
      );
    }
    for (const name of fitting) found.add(name);
  }
  const split = new Split(layout, found);
  if (!split.shared.dimension) {
    throw new RangeError(
      `personal is ${repr(personal)}, which is everything that the model trains: nothing would be shared; leave a layer`
        + " out",
    );
  }
  return split;
}

/** The patterns as Python writes them in a strategy's hash. */
export function listedPersonal(personal: readonly string[]): string {
  return tupled(personal.map(represented));
}

function ruleOf(pattern: string): Rule {
  if (pattern === NORMS) return norms();
  if (pattern.endsWith(")")) return parseCall(pattern, PERSONAL, "personal rule", "last(1)");
  const fits = globbed(pattern);
  return { of: (layout) => changedOf(layout).filter((name) => fits.test(name)) };
}

/** A prefix in which `*` and `?` stand for anything, and `[ab]` for one of some characters (Python's `fnmatch`). */
function globbed(pattern: string): RegExp {
  const parts = pattern.replace(/\[(!?)(\]?[^\]]*)\]|\*|\?|[\s\S]/gu, (part, not?: string, set?: string) => {
    if (part === "*") return "[^]*";
    if (part === "?") return "[^]";
    if (set !== undefined) return `[${not ? "^" : ""}${set.replace(/[\\\]^[]/g, "\\$&")}]`;
    return part.replace(/[\\^$.|?*+(){}[\]/-]/g, "\\$&");
  });
  return new RegExp(`^${parts}[^]*$`);
}

/** Names of the tensors that training changes. */
function changedOf({ parameters, buffers }: Layout): string[] {
  return [...parameters, ...buffers].map(({ name }) => name);
}

function layerOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf(".")));
}
