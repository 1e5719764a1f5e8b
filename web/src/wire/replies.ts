/** A client's reply to a round, and to a request to evaluate a model. */

import type { Payload, Vector } from "../types.ts";
import { packArrays } from "./arrays.ts";
import { type AnyRecord, ConfigRecord, type Content, MetricRecord, type MetricValue } from "./content.ts";
import { MAIN, METRICS } from "./fields.ts";

/** A client's answer in one round; `streams` has those that are not empty. */
export interface Reply {
  readonly payload: Payload;
  readonly streams: ReadonlyMap<string, Vector>;
  readonly numExamples: number;
  readonly metrics: ReadonlyMap<string, number>;
}

/** The round that is answered, and who answers. */
export interface From {
  readonly round: number;
  readonly client: string;
}

/** A client's answer to a round. */
export function packReply({ payload, streams, numExamples, metrics }: Reply, from: From): Content {
  const content = new Map<string, AnyRecord>([
    ["payload", packArrays(payload.arrays)], ...measured(payload.weight, numExamples, metrics, from),
  ]);
  for (const [name, values] of streams) content.set(name, packArrays(new Map([[name, values]])));
  return content;
}

/** What a client measured of a model on held-out samples: a reply without a payload. */
export function packEvaluation(numExamples: number, metrics: ReadonlyMap<string, number>, from: From): Content {
  return new Map(measured(1, numExamples, metrics, from));
}

function measured(
  weight: number, numExamples: number, metrics: ReadonlyMap<string, number>, { round, client }: From,
): [string, AnyRecord][] {
  const told = new Map<string, MetricValue>([["weight", weight], ["num-examples", BigInt(numExamples)]]);
  for (const [name, value] of metrics) told.set(`metric.${name}`, value);
  const main = new ConfigRecord([["round", BigInt(round)]]).set("client", client);
  return [[METRICS, new MetricRecord(told)], [MAIN, main]];
}
