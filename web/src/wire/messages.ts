/** Requests and their answers, as records; the table of all messages is in `hedgerow.wire.messages`. */

import { type Arrays, type Bytes, type Layout, type Model, PayloadError, type Vector } from "../types.ts";
import { packArrays } from "./arrays.ts";
import { ArrayRecord, ConfigRecord, type Content } from "./content.ts";
import * as fields from "./fields.ts";
import { MAIN, SECURE } from "./fields.ts";

/** The server's request to a client in one round. */
export interface TrainRequest {
  readonly model: Model;
  readonly round: number;
  readonly seed: bigint;
  /** The server's value of each stream that is not part of the model. */
  readonly streams: ReadonlyMap<string, Vector>;
  /** Clients of the cohort whose last answers did not count, with the first such round. */
  readonly uncounted: ReadonlyMap<string, bigint>;
  /** Size of the cohort, with masks; otherwise 0. */
  readonly clients: number;
  /** Hash under which a client keeps the model's constants, which `model` may then lack; empty for none. */
  readonly constants: string;
}

/** A client's answer to a query for its name. */
export function packIdentity(client: string): Content {
  return new Map([[MAIN, new ConfigRecord([["client", client]])]]);
}

/**
 * Read a request.
 *
 * `streams` has the number of values of each stream of the strategy that is not part of the model. Throws
 * `PayloadError` if the request is for another model or strategy than this client's.
 */
export function unpackTrain(
  content: Content, layout: Layout, streams: ReadonlyMap<string, number> = new Map(),
): TrainRequest {
  const config = fields.config(content), theirs = fields.text(config, "layout");
  if (theirs !== layout.fingerprint) {
    throw new PayloadError(`the server's model has layout ${theirs}, this client's has ${layout.fingerprint}`);
  }
  const arrays = fields.arrays(content, "model");
  const constants = config.has("constants") ? fields.text(config, "constants") : "";
  const leftOut = constants !== "" && !arrays.has("constants");
  const wanted = [...streams].filter(([, size]) => size);
  const sent = [...arrays.keys()].filter((name) => !["parameters", "buffers", "constants"].includes(name));
  if (String(sent.sort()) !== String(wanted.map(([name]) => name).sort())) {
    throw new PayloadError(`the server's strategy sends the streams [${sent}], this client's has others`);
  }
  return {
    model: {
      parameters: fields.floatVector(arrays, "parameters", layout.dimension),
      buffers: fields.floatVector(arrays, "buffers", layout.bufferSize),
      constants: fields.floatVector(arrays, "constants", leftOut ? 0 : layout.constantSize),
    },
    round: fields.count(config, "round"),
    seed: fields.whole(config, "seed"),
    streams: new Map(wanted.map(([name, size]) => [name, fields.floatVector(arrays, name, size)])),
    uncounted: uncounted(config),
    clients: config.has("clients") ? fields.count(config, "clients") : 0,
    constants,
  };
}

/** A request for clients that have the model's constants, which it names by their hash. */
export function withoutConstants(content: Content): Content {
  const model = content.get("model"), config = content.get(MAIN);
  if (!(model instanceof ArrayRecord && config instanceof ConfigRecord && config.has("constants"))) return content;
  return new Map([...content, ["model", new ArrayRecord([...model].filter(([name]) => name !== "constants"))]]);
}

/** A message of a secure aggregation. */
export function packStage(message: Bytes): Content {
  return new Map([[SECURE, new ConfigRecord([["message", message]])]]);
}

/** Undo `packStage`, whatever else the content has. Throws `PayloadError`. */
export function unpackStage(content: Content): Bytes {
  return fields.bytes(fields.config(content, SECURE), "message");
}

/** A client's masked vector. */
export function packVector(arrays: Arrays, message: Bytes): Content {
  return new Map<string, ReturnType<typeof packArrays> | ConfigRecord>([
    ["vector", packArrays(arrays)], [SECURE, new ConfigRecord([["message", message]])],
  ]);
}

function uncounted(config: fields.Settings): Map<string, bigint> {
  const names = config.get("uncounted") ?? [], since = config.get("uncounted-since") ?? [];
  if (!listOf("string", names) || !listOf("bigint", since) || names.length !== since.length) {
    throw new PayloadError("uncounted and uncounted-since must be lists of texts and whole numbers, equally long");
  }
  return new Map((names as string[]).map((name, i) => [name, (since as bigint[])[i]]));
}

function listOf(kind: string, value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.every((each) => typeof each === kind);
}
