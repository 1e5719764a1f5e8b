/** The operators that a graph may use: this list is the only one, and equals that of `hedgerow.graphs.allowed`. */

import { RULES as LOOPS } from "./loops.ts";
import { RULES as OTHERS } from "./operators.ts";
import type { Operator } from "./registry.ts";
import { RULES as WINDOWS } from "./windows.ts";

/** By name, each with the rule that says what its results look like. */
export const OPERATORS: ReadonlyMap<string, Operator> = new Map([...LOOPS, ...OTHERS, ...WINDOWS]);
