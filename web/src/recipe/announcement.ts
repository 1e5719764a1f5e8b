/** How a device reads what a server announces: data, not code (`hedgerow.recipe.announcement`). */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { Offer } from "../graphs/offer.ts";
import type { Strategy } from "../strategies/strategy.ts";
import { PayloadError } from "../types.ts";
import { ConfigRecord, type Content } from "../wire/content.ts";
import { isTable, type Json, type JsonTable, plain, readJson } from "../wire/text.ts";
import { represented } from "../wording.ts";
import { OWN, OwnSchema } from "./own_data.ts";
import { build } from "./strategy.ts";

/** The record of a message that says which run it belongs to. */
export const RECORD = "hedgerow.description";

/** A device's error for an unknown digest. */
export const UNKNOWN = "unknown-description";

const LARGEST = 2 ** 20;
const OF_DATA = ["name", "input_shape", "num_outputs", "held_out", "held_out_by"];

/** The record as a device reads it; `description` is empty if only the digest was sent. */
export interface Announced {
  readonly digest: string;
  /** Hedgerow's name of the run, 32 hex digits, the same after a restart. */
  readonly run: string;
  readonly description: string;
  /** Of Hedgerow on the server. */
  readonly version: string;
}

/** SHA-256 of the text in UTF-8, 64 hex digits. */
export function digestOf(description: string): string {
  return bytesToHex(sha256(new TextEncoder().encode(description)));
}

/** A message's announcement. Throws `PayloadError` if it has none, or a description that does not match its digest. */
export function read(content: Content): Announced {
  const record = content.get(RECORD);
  if (!(record instanceof ConfigRecord)) {
    throw new PayloadError(
      "the message does not say which run it belongs to: its server is older than this device, or not Hedgerow",
    );
  }
  const [digest, run, text, version] = ["digest", "run", "json", "version"].map((key) => record.get(key) ?? "");
  if (![digest, run, text, version].every((value) => typeof value === "string")) {
    const listed = [...record.keys()].sort().map(represented).join(", ");
    throw new PayloadError(`${RECORD} must have texts; it has [${listed}]`);
  }
  if (!/^[0-9a-f]{64}$/.test(digest as string) || !/^[0-9a-f]{32}$/.test(run as string)) {
    throw new PayloadError("the digest must have 64 hex digits, and the name of a run 32");
  }
  const description = text as string;
  if (description.length > LARGEST || (description && digestOf(description) !== digest)) {
    throw new PayloadError("the description is too long, or does not match its digest");
  }
  return { digest: digest as string, run: run as string, description, version: (version as string).slice(0, 40) };
}

/** The contents of a description, checked as far as possible without its parts. */
export interface Described {
  readonly strategy: Strategy;
  /** `classification` or `regression`. */
  readonly kind: string;
  /** The model's name. */
  readonly model: string;
  readonly modelArguments: JsonTable;
  /** Arguments of the model's adapters, if it has any. */
  readonly lora?: JsonTable;
  /** Of the device's own data; none if the run is for another data set. */
  readonly schema?: OwnSchema;
  /** Name of the data set. */
  readonly data: string;
  /** Of one sample. */
  readonly inputShape: readonly number[];
  readonly numOutputs: number;
  /** Fraction of the samples to hold out, if any. */
  readonly heldOut?: number;
  readonly heldOutBy: string;
  readonly trainer: string;
  readonly precision: string;
  /** Fingerprint of the model's layout. */
  readonly layout: string;
  readonly seed: bigint;
  /** By which a device without torch may train, if the run has some. */
  readonly graphs?: Offer;
}

/** Read a description. Throws `RangeError` if it is none, or its strategy cannot be built; the error says why. */
export function understand(description: string): Described {
  const given = table(readJson(description), "the description");
  const task = table(given.task, "task"), data = table(given.data, "data"), run = table(given.run, "run");
  const model = table(task.model, "model"), name = text(data.name, "name");
  const schema = Object.fromEntries(Object.entries(data).filter(([key]) => !OF_DATA.includes(key)));
  return {
    strategy: build(given.strategy ?? null),
    kind: text(task.kind, "kind"),
    model: text(model.name, "name"),
    modelArguments: table(model.arguments, "arguments"),
    lora: present(task.lora, "lora") === null ? undefined : table(task.lora, "lora"),
    schema: name === OWN ? OwnSchema.fromJson(schema) : undefined,
    data: name,
    inputShape: sizes(data.input_shape ?? []),
    numOutputs: Number(whole(data.num_outputs ?? 0n, "num_outputs")),
    heldOut: present(data.held_out, "held_out") === null ? undefined : Number(data.held_out),
    heldOutBy: text(data.held_out_by, "held_out_by"),
    trainer: text(run.trainer, "trainer"),
    precision: text(run.precision, "precision"),
    layout: text(given.layout, "layout"),
    seed: whole(given.seed, "seed"),
    graphs: given.graphs === undefined || given.graphs === null ? undefined : Offer.fromJson(plain(given.graphs)),
  };
}

function present(value: Json | undefined, name: string): Json {
  if (value === undefined) throw new RangeError(`the description of the run cannot be read: ${name} is missing`);
  return value;
}

function table(value: Json | undefined, name: string): JsonTable {
  if (!isTable(present(value, name))) {
    throw new RangeError(`the description of the run cannot be read: ${name} is not a table`);
  }
  return value as JsonTable;
}

function text(value: Json | undefined, name: string): string {
  if (typeof present(value, name) !== "string") {
    throw new RangeError(`the description of the run cannot be read: ${name} is not a text`);
  }
  return value as string;
}

function whole(value: Json | undefined, name: string): bigint {
  if (typeof present(value, name) !== "bigint") {
    throw new RangeError(`the description of the run cannot be read: ${name} is not a whole number`);
  }
  return value as bigint;
}

function sizes(value: Json): number[] {
  if (!Array.isArray(value)) throw new RangeError("the description of the run cannot be read: input_shape is no list");
  return value.map((size) => Number(whole(size, "input_shape")));
}
