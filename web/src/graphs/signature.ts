/** What a graph takes and gives, read from its manifest. */

import { LocalTraining } from "../training.ts";
import { Layout, type Tensor } from "../types.ts";
import { isTable, type Json, type JsonTable } from "../wire/text.ts";
import { represented, shown, tuple } from "../wording.ts";
import { BadGraphs } from "./errors.ts";
import { same, type Shape } from "./values.ts";

/** Before the name of an input that comes out changed, and of a metric that is added up over samples. */
export const NEW = "new/", SUM = "sum/";

/** The loss of a task that names none. */
export const CROSS_ENTROPY = "cross_entropy";

/** What an optimizer keeps from step to step, `(d,)` each and zeros at first. */
export const STATE = ["velocity", "first_moment", "second_moment"] as const;

/** Settings of `LocalTraining` that are in a graph; the others are the trainer's. */
export const OF_A_STEP = [
  "optimizer", "batch_size", "momentum", "weight_decay", "proximal", "clip_gradient", "clip_samples",
] as const;

export const DTYPES = ["float32", "float64", "int64", "bool"] as const;

export type Dtype = (typeof DTYPES)[number];

/** A tensor that goes into a graph, or comes out. */
export interface Port {
  readonly shape: Shape;
  readonly dtype: Dtype;
  /** Of a one, if it is drawn anew for every run: zeros and ones. */
  readonly probability?: number;
  /** Of what is drawn, the dimension that counts the samples, if one does. */
  readonly axis?: number;
}

export type Ports = ReadonlyMap<string, Port>;

/** What a graph takes and gives, in its order. */
export class Signature {
  readonly inputs: Ports;
  readonly outputs: Ports;
  readonly layout: Layout;
  /** The name of it. */
  readonly loss: string;
  /** How a step trains, of a graph that trains. Only `OF_A_STEP` counts. */
  readonly local: LocalTraining | undefined;

  constructor(inputs: Ports, outputs: Ports, layout: Layout, loss: string, local?: LocalTraining) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.layout = layout;
    this.loss = loss;
    this.local = local;
  }

  /** The size of every batch. */
  get rows(): number {
    return this.input("mask").shape[0];
  }

  /** Of the model's values. */
  get dtype(): Dtype {
    return this.input("parameters").dtype;
  }

  /** Inputs that are drawn anew for every run, in the order in which they are drawn. */
  get draws(): readonly (readonly [string, Port])[] {
    return [...this.inputs].filter(([, { probability }]) => probability !== undefined);
  }

  /** An input that every graph has. */
  input(name: "parameters" | "x" | "y" | "mask"): Port {
    return this.inputs.get(name) as Port; // `signatureOf` refuses a graph without it
  }
}

/** Read one graph's manifest. Throws `BadGraphs` if it is of another kind, or none that `hedgerow export` writes. */
export function signatureOf(manifest: JsonTable, kind: "train" | "evaluate"): Signature {
  try {
    if (at(manifest, "kind") !== kind) {
      throw new BadGraphs(`the graph is of kind ${shown(manifest.kind)}; it must be ${represented(kind)}`);
    }
    const layout = table(at(manifest, "layout"));
    const found = new Signature(
      ports(at(manifest, "inputs")),
      ports(at(manifest, "outputs")),
      new Layout(
        tensors(at(layout, "parameters")), tensors(at(layout, "buffers")), tensors(at(layout, "constants")),
        list(at(layout, "norms")).map(text),
      ),
      text(at(manifest, "loss")),
      kind === "train" ? localOf(table(at(manifest, "local"))) : undefined,
    );
    check(found, kind);
    return found;
  } catch (error) {
    if (error instanceof BadGraphs || !(error instanceof RangeError)) throw error;
    throw new BadGraphs(
      `the manifest of the graph that is to ${kind} is none that \`hedgerow export\` writes (${error.message})`,
    );
  }
}

function localOf(told: JsonTable): LocalTraining {
  return new LocalTraining(Object.fromEntries(OF_A_STEP.map((name) => [name, at(told, name)])));
}

function at(found: JsonTable, name: string): Json {
  if (!(name in found)) throw new RangeError(`it has no ${represented(name)}`);
  return found[name];
}

function table(value: Json): JsonTable {
  if (!isTable(value)) throw new RangeError(`${shown(value)} is no table of values`);
  return value;
}

function list(value: Json): readonly Json[] {
  if (!Array.isArray(value)) throw new RangeError(`${shown(value)} is no list`);
  return value;
}

function text(value: Json): string {
  if (typeof value !== "string") throw new RangeError(`${shown(value)} is no text`);
  return value;
}

function ports(listed: Json): Ports {
  return new Map(list(listed).map((entry) => {
    const each = table(entry), name = text(at(each, "name")), dtype = at(each, "dtype");
    const sizes = list(at(each, "shape"));
    if (!sizes.every(isSize) || !DTYPES.includes(dtype as Dtype)) {
      throw new BadGraphs(
        `${shown(name)} is ${shown(dtype)} of shape ${shown(sizes)}; it must be of whole sizes, and one of`
          + ` ${DTYPES.join(", ")}`,
      );
    }
    const shape = sizes.map(Number);
    return [name, { shape, dtype: dtype as Dtype, ...drawn(each, name, shape) }];
  }));
}

function isSize(size: Json): size is bigint {
  return typeof size === "bigint" && size >= 0n && size <= Number.MAX_SAFE_INTEGER;
}

/** What an input is drawn by, if it is drawn. */
function drawn({ probability = null, axis = null }: JsonTable, name: string, shape: Shape): Partial<Port> {
  if (probability === null) return {};
  const chance = typeof probability === "bigint" ? Number(probability) : probability;
  const known = axis === null || (typeof axis === "bigint" && axis >= 0n && axis < shape.length);
  if (typeof chance !== "number" || !(chance >= 0 && chance <= 1) || !known) {
    throw new BadGraphs(
      `${shown(name)} is drawn with probability ${shown(probability)} and its samples in dimension ${shown(axis)} of`
        + ` the shape ${tuple(shape)}`,
    );
  }
  return { probability: chance, ...(axis === null ? {} : { axis: Number(axis) }) };
}

function tensors(listed: Json): Tensor[] {
  return list(listed).map((entry) => {
    const each = table(entry), shape = list(at(each, "shape"));
    if (!shape.every(isSize)) throw new RangeError(`${shown(shape)} is no shape`);
    return { name: text(at(each, "name")), shape: shape.map(Number) };
  });
}

/** Throw `BadGraphs` unless a trainer can give all that goes in, and knows what comes out. */
function check(found: Signature, kind: string): void {
  const { layout, inputs, outputs, local } = found;
  const vectors = [["buffers", layout.bufferSize], ["constants", layout.constantSize]] as const;
  const beside = vectors.filter(([, size]) => size).map(([name]) => name);
  for (const name of ["parameters", "x", "y", "mask", ...beside, ...(kind === "train" ? ["learning_rate"] : [])]) {
    if (inputs.has(name)) continue;
    const must = `which a graph of kind ${represented(kind)} must`;
    throw new BadGraphs(`the graph does not take ${represented(name)}, ${must}`);
  }
  const known = knownOf(found), refuse = (name: string, port: Port): never => {
    throw new BadGraphs(
      `the graph takes ${shown(name)}, ${port.dtype} of shape ${tuple(port.shape)}, which is none of what a trainer`
        + " gives",
    );
  };
  if (!known.mask(found.input("mask"))) refuse("mask", found.input("mask"));
  for (const [, { shape, axis }] of found.draws) {
    if (axis === undefined || shape[axis] % found.rows === 0) continue;
    throw new BadGraphs(`of ${tuple(shape)}, dimension ${axis} cannot count ${found.rows} samples`);
  }
  for (const [name, port] of inputs) {
    if (port.probability === undefined && !(Object.hasOwn(known, name) && known[name](port))) refuse(name, port);
  }
  if (local !== undefined && local.batchSize !== found.rows) {
    throw new BadGraphs(`batches have ${found.rows} rows, and batch_size is ${local.batchSize}`);
  }
  for (const [name, { shape }] of outputs) {
    if (!name.startsWith(SUM) || !shape.length) continue;
    throw new BadGraphs(`the graph gives ${shown(name)} of shape ${tuple(shape)}; a sum is one number`);
  }
  checkResults(found, kind);
}

/** The loss, and all that a step changes, must come out as it goes in. */
function checkResults({ inputs, outputs, dtype }: Signature, kind: string): void {
  const changed = ["parameters", "buffers", ...STATE].filter((name) => inputs.has(name));
  for (const name of ["loss", ...(kind === "train" ? changed.map((each) => `${NEW}${each}`) : [])]) {
    const there = outputs.get(name), given = inputs.get(name.replace(NEW, "")) ?? { shape: [], dtype };
    if (there !== undefined && alike(there, given)) continue;
    throw new BadGraphs(
      `the graph gives ${there === undefined ? "no" : "another form of"} ${represented(name)}, which a graph of kind`
        + ` ${represented(kind)} must give as ${given.dtype} of shape ${tuple(given.shape)}`,
    );
  }
}

/** The forms of all inputs that a trainer can give. */
function knownOf(found: Signature): Readonly<Record<string, (port: Port) => boolean>> {
  const { layout, dtype } = found, [rows] = found.input("mask").shape;
  const vector = (size: number) => (port: Port) => alike(port, { shape: [size], dtype });
  const ofAll = vector(layout.dimension), batch = ({ shape }: Port) => shape[0] === rows;
  return {
    parameters: ofAll, buffers: vector(layout.bufferSize), constants: vector(layout.constantSize),
    ...Object.fromEntries(["start", "correction", ...STATE].map((name) => [name, ofAll])),
    x: batch, y: batch,
    mask: ({ shape, dtype: kind, probability }) => {
      return kind === "bool" && shape.length === 1 && shape[0] > 0 && probability === undefined;
    },
    learning_rate: (port) => alike(port, { shape: [], dtype }),
    step: (port) => alike(port, { shape: [], dtype: "int64" }),
  };
}

function alike(one: Port, other: Port): boolean {
  const named = one.dtype === other.dtype && one.probability === other.probability && one.axis === other.axis;
  return named && same(one.shape, other.shape);
}
