/** The graphs of a task with their manifest, as `hedgerow export` writes them. */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import type { Bytes } from "../types.ts";
import { textOf } from "../wire/reader.ts";
import { isTable, type JsonTable, readJson } from "../wire/text.ts";
import { represented, shown } from "../wording.ts";
import { BadGraphs } from "./errors.ts";

/** Names of the files, and of the graphs in the manifest. */
export const TRAIN = "train.onnx", EVALUATE = "evaluate.onnx", MANIFEST = "manifest.json";

export type Name = typeof TRAIN | typeof EVALUATE;

/** The graph that trains, the one that evaluates, and the manifest that holds the hash of each. */
export class Graphs {
  readonly train: Bytes;
  readonly evaluate: Bytes;
  /** As plain data. */
  readonly manifest: JsonTable;
  /** The SHA-256 of the manifest, and so of all, 64 hex digits. */
  readonly hash: string;

  /** Throws `BadGraphs` if the manifest cannot be read, or a graph is not the one whose hash it has. */
  constructor(described: Bytes, train: Bytes, evaluate: Bytes) {
    this.train = train;
    this.evaluate = evaluate;
    this.manifest = manifestOf(described);
    this.hash = bytesToHex(sha256(described));
    for (const [name, content] of this.files) {
      const found = bytesToHex(sha256(content)), { sha256: told } = this.manifestOf(name);
      if (found !== told) {
        throw new BadGraphs(
          `${name} is not the graph that its manifest describes: its SHA-256 is ${represented(found)}, the manifest`
            + ` has ${shown(told)}; take the files as \`hedgerow export\` wrote them`,
        );
      }
    }
  }

  /** Both graphs by name. */
  get files(): readonly (readonly [Name, Bytes])[] {
    return [[TRAIN, this.train], [EVALUATE, this.evaluate]];
  }

  /** A graph's own manifest. */
  manifestOf(name: Name): JsonTable {
    return (this.manifest.graphs as JsonTable)[name] as JsonTable;
  }
}

function manifestOf(described: Bytes): JsonTable {
  let found: unknown;
  try {
    found = readJson(textOf(described));
  } catch (error) {
    throw new BadGraphs(
      `the manifest cannot be read as JSON (${(error as Error).message}); take ${MANIFEST} as \`hedgerow export\``
        + " wrote it",
    );
  }
  const each = isTable(found) ? found.graphs : undefined;
  if (!isTable(found) || !isTable(each) || ![TRAIN, EVALUATE].every((name) => isTable(each[name])
    && "sha256" in each[name])) {
    throw new BadGraphs(
      `the manifest has no graphs '${TRAIN}' and '${EVALUATE}' with the SHA-256 of each; take ${MANIFEST} as`
        + " `hedgerow export` wrote it",
    );
  }
  return found;
}
