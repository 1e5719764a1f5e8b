/**
 * The rules of most operators: what they give, by https://onnx.ai/onnx/operators/ of version 20.
 *
 * Every shape is known beforehand, or the node is refused.
 */

import { MANY, named, replaced, type Rules, sizeOf } from "./registry.ts";
import { type Call, DTYPES, same, type Shape, Value } from "./values.ts";

const asTheFirst = (call: Call) => call.like([call.x.shape]);
const together = (call: Call, dtype?: string) => call.like([call.broadcast(...shapesOf(call))], dtype);
const truths = (call: Call) => together(call, "bool");

export const RULES: Rules = [
  ...named("Abs Ceil Cos Erf Exp Floor Identity Log Neg Not Reciprocal Relu Sigmoid Sign Sin Sqrt Tanh", [1, 1], "",
    asTheFirst),
  ...named("Softmax LogSoftmax", [1, 1], "axis", asTheFirst, (call) => 2 * call.x.bytes),
  ...named("CumSum", [2, 2], "", asTheFirst),
  ...named("Add And Div Max Min Mod Mul Or Pow Sub Xor", [2, 2], "", (call) => together(call)),
  ...named("Equal Greater GreaterOrEqual Less LessOrEqual", [2, 2], "", truths),
  ...named("IsInf IsNaN", [1, 1], "", truths),
  ...named("Where", [3, 3], "", (call) => together(call, call.inputs[1].dtype)),
  ...named("Cast", [1, 1], "to", cast),
  ...named("Reshape", [2, 2], "allowzero", reshape),
  ...named("Transpose", [1, 1], "perm", transpose),
  ...named("Expand", [2, 2], "", (call) => call.like([call.broadcast(call.x.shape, sizes(call, 1))])),
  ...named("Tile", [2, 2], "", tile),
  ...named("Pad", [3, 3], "", pad),
  ...named("Slice", [5, 5], "", slice),
  ...named("Split", [2, 2], "axis", split),
  ...named("Concat", [1, MANY], "axis", concat),
  ...named("ConstantOfShape", [1, 1], "value", constantOfShape),
  ...named("Gather", [2, 2], "axis", gather),
  ...named("GatherElements", [2, 2], "axis", (call) => call.like([call.inputs[1].shape])),
  ...named("GatherND", [2, 2], "", gatherNd),
  ...named("ScatterElements", [3, 3], "axis reduction", asTheFirst),
  ...named("ScatterND", [3, 3], "reduction", asTheFirst),
  ...named("ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum", [2, 2], "keepdims", reduce),
  ...named("ArgMax ArgMin", [1, 1], "axis keepdims", place),
  ...named("MatMul", [2, 2], "", product),
  ...named("Gemm", [3, 3], "alpha beta", affine),
];

function cast(call: Call): Value[] {
  const dtype = DTYPES[call.whole("to")];
  if (dtype === undefined) throw call.refuse("gives a dtype that no export writes");
  return call.like([call.x.shape], dtype);
}

function reshape(call: Call): Value[] {
  let shape = call.numbers(1);
  if (!call.whole("allowzero", 0)) shape = shape.map((n, k) => (n === 0 && k < call.x.rank ? call.x.shape[k] : n));
  if (shape.filter((n) => n === -1).length === 1) {
    const rest = sizeOf(shape.filter((n) => n !== -1));
    shape[shape.indexOf(-1)] = rest > 0 ? Math.floor(call.x.size / rest) : 0;
  }
  if (shape.some((n) => n < 0) || sizeOf(shape) !== call.x.size) {
    throw call.refuse("changes how many elements there are");
  }
  return call.like([shape]);
}

function transpose(call: Call): Value[] {
  const order = call.wholes("perm", call.x.rank);
  if (!same([...order].sort((a, b) => a - b), order.map((_, k) => k))) {
    throw call.refuse("has no order of the dimensions");
  }
  return call.like([order.map((k) => call.x.shape[k])]);
}

function tile(call: Call): Value[] {
  const times = sizes(call, 1);
  if (times.length !== call.x.rank) throw call.refuse("repeats other dimensions than there are");
  return call.like([call.x.shape.map((n, k) => n * times[k])]);
}

function pad(call: Call): Value[] {
  const amounts = sizes(call, 1), { rank, shape } = call.x;
  if (amounts.length !== 2 * rank) throw call.refuse("fills up other dimensions than there are");
  return call.like([shape.map((n, k) => n + amounts[k] + amounts[rank + k])]);
}

function slice(call: Call): Value[] {
  const shape = [...call.x.shape], [starts, ends, axes, steps] = [1, 2, 3, 4].map((k) => call.numbers(k));
  if ([ends, axes, steps].some((each) => each.length !== starts.length)) {
    throw call.refuse("has lists of different lengths");
  }
  starts.forEach((start, k) => {
    const dim = call.axis(axes[k], call.x.rank), end = ends[k], step = steps[k];
    if (step < 1 || start < 0 || start > end || end > call.x.shape[dim]) {
      throw call.refuse("takes a part that is not there");
    }
    shape[dim] = Math.ceil((end - start) / step);
  });
  return call.like([shape]);
}

function split(call: Call): Value[] {
  const parts = sizes(call, 1), axis = call.axis(call.whole("axis", 0), call.x.rank);
  if (parts.reduce((a, b) => a + b, 0) !== call.x.shape[axis] || parts.length !== call.outputs) {
    throw call.refuse("has parts that are not the whole");
  }
  return call.like(parts.map((n) => replaced(call.x.shape, axis, n)));
}

function concat(call: Call): Value[] {
  const axis = call.axis(call.whole("axis"), call.x.rank), { shape, dtype, rank } = call.x;
  const rest = replaced(shape, axis);
  const fits = (v: Value) => v.dtype === dtype && v.rank === rank && same(replaced(v.shape, axis), rest);
  if (!call.inputs.every(fits)) throw call.refuse("puts together what does not fit together");
  return call.like([replaced(shape, axis, call.inputs.reduce((total, v) => total + v.shape[axis], 0))]);
}

function constantOfShape(call: Call): Value[] {
  const value = call.attributes.get("value");
  if (!(value instanceof Value) || value.size !== 1) throw call.refuse("has no value");
  const shape = sizes(call, 0), known = value.dtype === "int64" && shape.length === 1;
  return [new Value(shape, value.dtype, known ? value.data : undefined)];
}

function gather(call: Call): Value[] {
  const axis = call.axis(call.whole("axis", 0), call.x.rank);
  return call.like([replaced(call.x.shape, axis, ...call.inputs[1].shape)]);
}

function gatherNd(call: Call): Value[] {
  const { rank, shape } = call.inputs[1], last = shape[rank - 1];
  if (!rank || last < 1 || last > call.x.rank) throw call.refuse("looks up places of other dimensions than there are");
  return call.like([[...shape.slice(0, -1), ...call.x.shape.slice(last)]]);
}

function reduce(call: Call): Value[] {
  const over = new Set(call.numbers(1).map((k) => call.axis(k, call.x.rank)));
  if (!over.size) throw call.refuse("names no dimension");
  return call.like([left(call, (k) => over.has(k))]);
}

function place(call: Call): Value[] {
  const axis = call.axis(call.whole("axis", 0), call.x.rank);
  return call.like([left(call, (k) => k === axis)], "int64");
}

/** The shape of what is left when some dimensions have become one number each, which may be kept. */
function left(call: Call, gone: (k: number) => boolean): Shape {
  const keep = call.whole("keepdims", 1);
  return call.x.shape.map((n, k) => (gone(k) ? 1 : n)).filter((_, k) => keep || !gone(k));
}

function product(call: Call): Value[] {
  const [a, b] = shapesOf(call);
  if (a.length < 2 || b.length < 2 || a[a.length - 1] !== b[b.length - 2]) {
    throw call.refuse("multiplies what does not fit together");
  }
  const batch = call.broadcast(a.slice(0, -2), b.slice(0, -2));
  return call.like([[...batch, a[a.length - 2], b[b.length - 1]]]);
}

function affine(call: Call): Value[] {
  const [a, b, added] = shapesOf(call);
  if (a.length !== 2 || b.length !== 2 || a[1] !== b[0]) throw call.refuse("multiplies what does not fit together");
  const found = [a[0], b[1]];
  if (!same(call.broadcast(found, added), found)) throw call.refuse("adds what does not fit");
  return call.like([found]);
}

function shapesOf(call: Call): Shape[] {
  return call.inputs.map(({ shape }) => shape);
}

/** Sizes that a constant gives; none is negative. */
function sizes(call: Call, where: number): Shape {
  const found = call.numbers(where);
  if (found.some((n) => n < 0)) throw call.refuse("is given a negative size");
  return found;
}
