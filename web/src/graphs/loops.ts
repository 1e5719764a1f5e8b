/** The rule of a loop over time: its length is that of what it reads, which is known beforehand. */

import { MANY, named, type Rules } from "./registry.ts";
import { type Body, type Call, Value } from "./values.ts";

const DIRECTIONS = "scan_input_directions scan_output_directions";

export const RULES: Rules = [
  ...named("Scan", [1, MANY], `body num_scan_inputs ${DIRECTIONS}`, scan, (call) => body(call)[1]),
];

/** What the body gives in one step, and the memory that it takes. */
function body(call: Call): Body {
  const scanned = call.whole("num_scan_inputs"), { inputs } = call;
  const read = scanned > 0 && scanned <= inputs.length ? inputs.slice(-scanned) : [];
  if (!read.length || read.some((v) => !v.rank)) throw call.refuse("has nothing to go through");
  const steps = read.map(({ shape, dtype }) => new Value(shape.slice(1), dtype));
  if (read.some((v) => v.shape[0] !== read[0].shape[0])) throw call.refuse("goes through values of different lengths");
  return call.body("body", [...inputs.slice(0, -scanned), ...steps]);
}

function scan(call: Call): Value[] {
  const [found] = body(call), { inputs } = call, carried = inputs.length - call.whole("num_scan_inputs");
  const [length] = inputs[inputs.length - 1].shape;
  if (inputs.slice(0, carried).some((before, k) => k < found.length && !before.like(found[k]))) {
    throw call.refuse("changes the form of what it carries from step to step");
  }
  return found.map(({ shape, dtype }, k) => new Value(k < carried ? shape : [length, ...shape], dtype));
}
