/** The rules of operators that move a window over their input. */

import { named, type Rules, sizeOf } from "./registry.ts";
import { type Call, same, type Shape, Value } from "./values.ts";

const WINDOW = "kernel_shape strides pads dilations";

export const RULES: Rules = [
  ...named("Conv", [2, 3], `${WINDOW} group`, convolution, (call, [result]) => columns(call, call.x, result)),
  ...named("ConvTranspose", [2, 3], `${WINDOW} group output_padding`, transposedConvolution,
    (call, [result]) => columns(call, result, call.x)),
  ...named("MaxPool", [1, 1], `${WINDOW} ceil_mode`, maxPool),
];

function window(call: Call, across: number): readonly (readonly number[])[] {
  return ["kernel_shape", "strides", "dilations"].map((name) => call.wholes(name, across));
}

/** How often a window fits into each dimension, with pads and dilations. */
function places(call: Call, across: number): Shape {
  const [k, s, d] = window(call, across), pads = call.wholes("pads", 2 * across);
  if (Math.min(...k, ...s, ...d) < 1 || Math.min(...pads) < 0) throw call.refuse("has a window without a size");
  const moved = call.x.shape.slice(2);
  const room = moved.map((n, i) => n + pads[i] + pads[across + i] - d[i] * (k[i] - 1) - 1);
  if (Math.min(...room) < 0) throw call.refuse("has a window that is larger than what it moves over");
  if (!call.whole("ceil_mode", 0)) return room.map((n, i) => Math.floor(n / s[i]) + 1);
  // A last window that would begin behind the values is left out.
  const found = room.map((n, i) => Math.ceil(n / s[i]) + 1);
  return found.map((n, i) => ((n - 1) * s[i] >= moved[i] + pads[i] ? n - 1 : n));
}

/** The windows of one sample and group side by side, which are multiplied by the weights. */
function columns(call: Call, of: Value, movedTo: Value): number {
  const channels = Math.ceil(of.shape[1] / Math.max(1, call.whole("group", 1)));
  const window = new Value(call.inputs[1].shape.slice(2), call.x.dtype).bytes;
  return channels * window * sizeOf(movedTo.shape.slice(2));
}

function convolution(call: Call): Value[] {
  const [{ shape, rank }, weight] = call.inputs, kernel = call.attributes.get("kernel_shape");
  const fits = Array.isArray(kernel) && same(kernel, weight.shape.slice(2));
  if (rank < 3 || weight.rank !== rank || !fits) throw call.refuse("has weights of another form than its window");
  if (weight.shape[1] * call.whole("group", 1) !== shape[1]) throw call.refuse("has weights for other channels");
  return call.like([[shape[0], weight.shape[0], ...places(call, rank - 2)]]);
}

function transposedConvolution(call: Call): Value[] {
  const [{ shape, rank }, weight] = call.inputs, across = rank - 2;
  if (across < 1 || weight.rank !== rank || weight.shape[0] !== shape[1]) {
    throw call.refuse("has weights of another form than its window");
  }
  const [k, s, d] = window(call, across);
  const pads = call.wholes("pads", 2 * across), more = call.wholes("output_padding", across);
  if (Math.min(...k, ...s, ...d) < 1 || Math.min(...pads, ...more) < 0 || !same(weight.shape.slice(2), k)) {
    throw call.refuse("has a window without a size");
  }
  const sizes = shape.slice(2).map((n, i) => {
    return s[i] * (n - 1) + more[i] + d[i] * (k[i] - 1) + 1 - pads[i] - pads[across + i];
  });
  return call.like([[shape[0], weight.shape[1] * call.whole("group", 1), ...sizes]]);
}

function maxPool(call: Call): Value[] {
  if (call.x.rank < 3 || call.outputs < 1 || call.outputs > 2) throw call.refuse("is given something else than planes");
  const shape = [...call.x.shape.slice(0, 2), ...places(call, call.x.rank - 2)];
  return [new Value(shape, call.x.dtype), new Value(shape, "int64")].slice(0, call.outputs);
}
