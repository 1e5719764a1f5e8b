/**
 * What graphs are held to before ONNX Runtime sees a byte of them.
 *
 * A graph that passes uses only operators of the list, takes nothing from other files, takes and gives what its
 * manifest says, and its memory is bounded: every shape in it is known beforehand.
 */

import type { Bytes } from "../types.ts";
import { isTable, type JsonTable, writeJson } from "../wire/text.ts";
import type { Graphs } from "./bundle.ts";
import { BadGraphs } from "./errors.ts";
import { collect, fields, type Part } from "./protobuf.ts";
import { same, type Value } from "./values.ts";
import { Walk } from "./walk.ts";

/** Bytes of a graph. It holds no values of a model, so real ones have some hundred kilobytes at most. */
export const LARGEST = 4 * 2 ** 20;

/** Of each other; ONNX Runtime reads them since 1.17. */
export const OPSET = 20, IR_VERSION = 9;

/** Under this key a graph holds its own manifest, without its hash. */
export const EMBEDDED = "hedgerow.manifest";

const NONE: Bytes = new Uint8Array(0);

/** Refuse graphs that are not what they must be, by `BadGraphs`; the bytes that a run of one takes at most. */
export function inspect(graphs: Graphs, most: number): number {
  return Math.max(...graphs.files.map(([name, content]) => {
    try {
      return inspected(content, graphs.manifestOf(name), most);
    } catch (error) {
      if (error instanceof BadGraphs) throw new BadGraphs(`${name}: ${error.message}`);
      throw error;
    }
  }));
}

/** The graph in a model's file, and the manifest that the file itself holds. Throws `BadGraphs`. */
export function graphOf(content: Bytes): readonly [graph: Bytes, described: Bytes] {
  if (content.length > LARGEST) {
    const [given, most] = [content.length, LARGEST].map((bytes) => bytes.toLocaleString("en-US"));
    throw new BadGraphs(`it has ${given} bytes; at most ${most} are taken`);
  }
  let graph = NONE, described = NONE;
  const versions = new Set<string>();
  for (const [name, value] of fields("ModelProto", content)) {
    if (name === "metadata_props") {
      const { key = NONE, value: manifest = described } = collect("StringStringEntryProto", value as Bytes);
      if (!written(EMBEDDED, key as Bytes) || described.length) {
        throw new BadGraphs("it has metadata other than its manifest");
      }
      described = manifest as Bytes;
    } else if (name === "graph") {
      graph = value as Bytes;
    } else if (name in VERSIONS) {
      VERSIONS[name](value);
      versions.add(name);
    }
  }
  if (versions.size !== Object.keys(VERSIONS).length) {
    throw new BadGraphs("it does not say which version of ONNX it is of");
  }
  return [graph, described];
}

function inspected(content: Bytes, { sha256: _, ...own }: JsonTable, most: number): number {
  const [graph, described] = graphOf(content);
  if (!written(writeJson(own), described) || Number(own.opset) !== OPSET) {
    throw new BadGraphs("the manifest is not the one that the graph itself holds");
  }
  const walk = new Walk(graph, most);
  for (const [way, found] of [["inputs", walk.inputs], ["outputs", walk.outputs]] as const) {
    const told = own[way];
    if (!Array.isArray(told) || !told.every(isTable)) throw new BadGraphs(`the manifest has no list of ${way}`);
    const given = [...found];
    if (told.length !== given.length || !told.every((each, k) => describes(each, ...given[k]))) {
      throw new BadGraphs(`its ${way} are not those of the manifest`);
    }
  }
  return walk.needed;
}

const VERSIONS: Readonly<Record<string, (value: Part) => void>> = {
  ir_version(version) {
    if (version !== IR_VERSION) throw new BadGraphs(`its IR version is ${version}; it must be ${IR_VERSION}`);
  },
  opset_import(data) {
    const { domain = NONE, version } = collect("OperatorSetIdProto", data as Bytes);
    if ((domain as Bytes).length || version !== OPSET) {
      throw new BadGraphs(`it needs other operators than those of ONNX's version ${OPSET}`);
    }
  },
};

/** Whether bytes are a text of ASCII. */
function written(text: string, data: Bytes): boolean {
  return text.length === data.length && data.every((byte, k) => byte === text.charCodeAt(k));
}

/** Whether an entry of the manifest is an input or output of the graph. */
function describes({ name, shape, dtype }: JsonTable, found: string, value: Value): boolean {
  const sizes = Array.isArray(shape) && shape.every((each) => typeof each === "bigint") ? shape.map(Number) : [NaN];
  return name === found && dtype === value.dtype && same(sizes, value.shape);
}
