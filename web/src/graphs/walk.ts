/** A graph, walked node by node without running it: what each value is, and how much memory a run takes. */

import type { Bytes } from "../types.ts";
import { represented, shown } from "../wording.ts";
import { OPERATORS } from "./allowed.ts";
import { BadGraphs } from "./errors.ts";
import { collect, fields, type Part, text } from "./protobuf.ts";
import type { Operator } from "./registry.ts";
import { type Attribute, type Body, Call, DTYPES, Value } from "./values.ts";

export const MOST_NODES = 50_000, MOST_NAMES = 4096, MOST_DIMS = 16, DEEPEST = 3;
const NONE: Bytes = new Uint8Array(0);

/**
 * Bytes that ONNX Runtime takes whatever it runs, and how many times what is alive at once it takes at most:
 * it runs nodes in an order of its own, and keeps what it has freed in blocks that double.
 */
export const RUNTIME = 16 * 2 ** 20, ARENA = 4;

/** The field that holds an attribute, by its type. */
const FORMS: Readonly<Record<number, string>> = { 1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 7: "ints" };

/** Names by where they stand in the graph, each made once. */
type Names = Map<number, string>;

interface Node {
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
}

/** A walk through a graph, in the order of its nodes. Throws `BadGraphs` if no export writes it, or it needs more. */
export class Walk {
  /** What the graph takes and gives. */
  readonly inputs = new Map<string, Value>();
  readonly outputs = new Map<string, Value>();
  /** Bytes that a run takes at most. */
  needed = 0;
  /** Bytes that are alive at once. */
  working = 0;
  readonly #allowed: number;
  readonly #outer: Walk | undefined;
  readonly #depth: number;
  readonly #names: Names;
  readonly #values = new Map<string, Value>();
  /** The number of the last node that takes a value. */
  readonly #last = new Map<string, number>();
  #kept = 0;
  #live = 0;

  /** `allowed`: bytes that a run may take. `outer` and `given`: around a loop's body, and what it is given. */
  constructor(graph: Bytes, allowed: number, outer?: Walk, given: readonly Value[] = []) {
    this.#allowed = allowed;
    this.#outer = outer;
    this.#depth = outer === undefined ? 1 : outer.#depth + 1;
    this.#names = outer === undefined ? new Map() : outer.#names;
    if (this.#depth > DEEPEST) throw new BadGraphs(`it has graphs within graphs, more than ${DEEPEST} deep`);
    for (const [kind, data] of fields("GraphProto", graph)) this.#declare(kind, data);
    const found = [...this.inputs.values()];
    if (outer !== undefined && !(found.length === given.length && found.every((v, k) => v.like(given[k])))) {
      throw new BadGraphs("a loop's body takes something else than the loop gives it");
    }
    let number = 0;
    for (const node of nodesOf(graph)) {
      if (number === MOST_NODES) throw new BadGraphs(`it has more than ${MOST_NODES} nodes`);
      for (const name of readsOf(node, this.#names)) this.#last.set(name, number);
      number++;
    }
    number = 0;
    for (const node of nodesOf(graph)) this.#step(number++, node);
    for (const [name, value] of this.outputs) {
      if (!this.#values.get(name)?.like(value)) {
        throw new BadGraphs(`its output ${represented(name)} is not what its nodes give`);
      }
    }
  }

  /** An input, output or constant of the graph. */
  #declare(kind: string, data: Part): void {
    if (kind === "output") {
      const [name, value] = info(data as Bytes, this.#names);
      if (this.outputs.has(name)) throw new BadGraphs(`it has the output ${represented(name)} twice`);
      this.outputs.set(name, value);
    } else if (kind === "input" || kind === "initializer") {
      const [name, value] = (kind === "input" ? info : tensor)(data as Bytes, this.#names);
      this.#enter(name, value);
      this.#kept += value.bytes;
      if (kind === "input") this.inputs.set(name, value);
    }
  }

  /** One node: its results, and how much memory is taken while it runs. */
  #step(number: number, data: Bytes): void {
    const reads = readsOf(data, this.#names), node = nodeOf(data, this.#names);
    const inputs = node.inputs.map((name) => this.#known(name));
    const call = new Call(node.operator, inputs, node.attributes, node.outputs.length, this.#body);
    const results = resultsOf(call), fixed = inputs.every((value) => value.fixed);
    results.forEach(({ shape, dtype, data: known, bytes }, k) => {
      this.#enter(node.outputs[k], new Value(shape, dtype, known, fixed));
      if (fixed) this.#kept += bytes;
      else this.#live += bytes;
    });
    const alive = this.#live + (OPERATORS.get(node.operator)?.scratch(call, results) ?? 0);
    this.working = Math.max(this.working, this.#kept + alive);
    this.needed = Math.max(this.needed, RUNTIME + this.#kept + ARENA * alive);
    if (this.needed > this.#allowed) {
      const needed = Math.ceil(this.needed / 2 ** 20).toLocaleString("en-US");
      const most = (this.#allowed / 2 ** 20).toLocaleString("en-US", { maximumSignificantDigits: 6 });
      throw new BadGraphs(`a run of it may take ${needed} MB; at most ${most} MB are allowed`);
    }
    for (const name of new Set([...reads, ...node.outputs])) {
      const value = this.#values.get(name), last = this.#last.get(name) ?? -1;
      const done = last <= number && !this.outputs.has(name) && !this.inputs.has(name);
      if (value !== undefined && !value.fixed && done) this.#live -= value.bytes;
    }
  }

  /** A step of a loop. */
  readonly #body = (graph: Bytes, given: readonly Value[]): Body => {
    const walk = new Walk(graph, this.#allowed, this, given);
    return [[...walk.outputs.values()], walk.working];
  };

  #enter(name: string, value: Value): void {
    for (let scope: Walk | undefined = this; scope !== undefined; scope = scope.#outer) {
      if (scope.#values.has(name)) throw new BadGraphs(`the name ${represented(name)} stands for two values`);
    }
    this.#values.set(name, value);
  }

  #known(name: string): Value {
    const found = this.#values.get(name) ?? (this.#outer && this.#outer.#known(name));
    if (found === undefined) throw new BadGraphs(`a node takes ${represented(name)} before anything gives it`);
    return found;
  }
}

/** A name that is made once, wherever and however often it is read. */
function nameOf(data: Bytes, names: Names): string {
  let found = names.get(data.byteOffset);
  if (found === undefined) {
    found = text(data);
    names.set(data.byteOffset, found);
  }
  return found;
}

function* nodesOf(graph: Bytes): Generator<Bytes> {
  for (const [name, value] of fields("GraphProto", graph)) if (name === "node") yield value as Bytes;
}

/** The names that a node takes, also within its loops' bodies. */
function* readsOf(node: Bytes, names: Names, depth = 1): Generator<string> {
  for (const [field, value] of fields("NodeProto", node)) {
    if (field === "input") yield nameOf(value as Bytes, names);
    if (field !== "attribute" || depth > DEEPEST) continue;
    for (const [name, graph] of fields("AttributeProto", value as Bytes)) {
      if (name !== "g") continue;
      for (const inner of nodesOf(graph as Bytes)) yield* readsOf(inner, names, depth + 1);
    }
  }
}

function nodeOf(data: Bytes, names: Names): Node {
  let operator = "";
  const inputs: string[] = [], outputs: string[] = [], attributes = new Map<string, Attribute>();
  for (const [field, value] of fields("NodeProto", data)) {
    if (field === "op_type") operator = operatorOf(value as Bytes, names);
    else if (field === "attribute") attributes.set(...attributeOf(value as Bytes, names));
    else (field === "input" ? inputs : outputs).push(nameOf(value as Bytes, names));
    if (Math.max(inputs.length, outputs.length) > MOST_NAMES) {
      throw new BadGraphs(`a node has more than ${MOST_NAMES} inputs or outputs`);
    }
  }
  if (!operator) throw new BadGraphs("a node has no operator");
  return { operator, inputs, outputs, attributes };
}

function operatorOf(data: Bytes, names: Names): string {
  const name = nameOf(data, names);
  if (!OPERATORS.has(name)) {
    throw new BadGraphs(`it uses the operator ${shown(name)}, which is not on the list of those allowed`);
  }
  return name;
}

/** What a node gives; throws `BadGraphs` where it may not stand there. */
function resultsOf(call: Call): readonly Value[] {
  const { inputs: [least, most], attributes, results } = OPERATORS.get(call.operator) as Operator; // `operatorOf`
  if (call.inputs.length < least || call.inputs.length > most) throw call.refuse(`has ${call.inputs.length} inputs`);
  const [more] = [...call.attributes.keys()].filter((name) => !attributes.includes(name)).sort();
  if (more !== undefined) throw call.refuse(`has the attribute ${shown(more)}, which no export writes`);
  const found = results(call);
  if (found.length !== call.outputs || found.some(({ shape }) => shape.some((n) => n < 0))) {
    throw call.refuse(`cannot give ${call.outputs} results of these shapes`);
  }
  return found;
}

function attributeOf(data: Bytes, names: Names): [string, Attribute] {
  const given = collect("AttributeProto", data), name = nameOf((given.name ?? NONE) as Bytes, names);
  const form = FORMS[(given.type ?? 0) as number] ?? "";
  const others = Object.entries(given).some(([key, value]) => {
    return !["name", "type", form].includes(key) && !(Array.isArray(value) && value.length === 0);
  });
  const value = given[form];
  if (value === undefined || others) {
    throw new BadGraphs(`an attribute ${shown(name)} is of a type that no export writes`);
  }
  return [name, form === "t" ? constant(value as Bytes)[1] : (value as Attribute)];
}

/** Name, if it has one, and value of a constant, whose numbers lie in the graph. */
function constant(data: Bytes): [Bytes, Value] {
  const given = collect("TensorProto", data, MOST_DIMS), raw = (given.raw_data ?? NONE) as Bytes;
  const { shape, dtype, bytes } = valueOf(given.data_type, given.dims as number[]);
  if (raw.length !== bytes) throw new BadGraphs("a constant has not as many numbers as its shape says");
  return [(given.name ?? NONE) as Bytes, new Value(shape, dtype, raw, true)];
}

function tensor(data: Bytes, names: Names): [string, Value] {
  const [name, value] = constant(data);
  return [nameOf(name, names), value];
}

/** Name and form of an input or output. */
function info(data: Bytes, names: Names): [string, Value] {
  const given = collect("ValueInfoProto", data), type = collect("TypeProto", (given.type ?? NONE) as Bytes);
  const kind = collect("Tensor", (type.tensor_type ?? NONE) as Bytes);
  const { dim } = collect("TensorShapeProto", (kind.shape ?? NONE) as Bytes, MOST_DIMS);
  const sizes = (dim as Bytes[]).map((each) => (collect("Dimension", each).dim_value ?? -1) as number);
  return [nameOf((given.name ?? NONE) as Bytes, names), valueOf(kind.elem_type, sizes)];
}

function valueOf(kind: unknown, shape: readonly number[]): Value {
  const dtype = DTYPES[kind as number];
  if (dtype === undefined) throw new BadGraphs("it has a dtype that no export writes");
  if (shape.some((n) => n < 0)) throw new BadGraphs("it has a shape that is not known beforehand");
  return new Value(shape, dtype);
}
