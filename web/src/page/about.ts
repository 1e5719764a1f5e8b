/** What a coordinator says of its run before a phone joins; none of it is relied on, all of it is only shown. */

import { inOneLine, isLegible } from "../legible.ts";
import { bodyOf } from "../node/connection.ts";
import { OwnSchema } from "../recipe/own_data.ts";
import { isTable, type Json, readJson } from "../wire/text.ts";

export interface About {
  readonly name: string;
  /** What is learned. */
  readonly schema?: OwnSchema;
  readonly rounds: number;
  /** Values of the model. */
  readonly values: number;
  /** Bytes of one round, from the phone. */
  readonly up: number;
  readonly down: number;
  /** The smallest sum in which the coordinator says an update is hidden; 0 if it says that none is. */
  readonly least: number;
  /** The most that the phone's part in the run reveals, by the coordinator's word; 0 if it names no bound. */
  readonly epsilon: number;
  /** Hash of the graphs, and the key that has signed them, 64 hex digits each; empty if there are none. */
  readonly graphs: string;
  readonly signer: string;
}

const LONGEST = 120, LARGEST = 2 ** 20;
const HEX = /^[0-9a-f]{64}$/;

/** Ask for it; nothing where it cannot be had. */
export async function about(address: string): Promise<About | undefined> {
  try {
    const answer = await fetch(new URL("/phone/about.json", address), {
      cache: "no-store", credentials: "omit", redirect: "error",
    });
    return answer.ok ? readAbout(new TextDecoder().decode(await bodyOf(answer, LARGEST))) : undefined;
  } catch {
    return undefined;
  }
}

/** The same, from its text; nothing if it is something else. Throws `RangeError` if it is no JSON. */
export function readAbout(text: string): About | undefined {
  const found = readJson(text);
  if (!isTable(found)) return undefined;
  const inside = (key: string): Readonly<Record<string, Json>> => {
    const value = found[key];
    return isTable(value) ? value : {};
  };
  const graphs = inside("graphs"), bytes = inside("bytes");
  return {
    name: short(found.name), schema: schemaOf(found.schema), rounds: number(found.rounds),
    values: number(inside("model").values), up: number(bytes.up), down: number(bytes.down),
    least: number(inside("masked").least), epsilon: number(inside("epsilon").most),
    graphs: hash(graphs.hash), signer: hash(graphs.key),
  };
}

function schemaOf(found: Json | undefined): OwnSchema | undefined {
  try {
    const schema = found === undefined ? undefined : OwnSchema.fromJson(found);
    return schema && isLegible(schema) ? schema : undefined;
  } catch {
    return undefined;
  }
}

function number(value: Json | undefined): number {
  const found = Number(typeof value === "bigint" || typeof value === "number" ? value : 0);
  return Number.isFinite(found) ? found : 0;
}

function short(value: Json | undefined): string {
  return typeof value === "string" ? inOneLine(value, LONGEST) : "";
}

function hash(value: Json | undefined): string {
  return typeof value === "string" && HEX.test(value) ? value : "";
}
