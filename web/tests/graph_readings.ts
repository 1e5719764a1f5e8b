/** Print damaged graphs and manifests with what is read from them, for a comparison with Python: `KIND HEX READING`. */

import { graphOf } from "../src/graphs/inspection.ts";
import { Offer } from "../src/graphs/offer.ts";
import { type Ports, signatureOf } from "../src/graphs/signature.ts";
import type { Value } from "../src/graphs/values.ts";
import { Walk } from "../src/graphs/walk.ts";
import type { Bytes } from "../src/types.ts";
import { textOf } from "../src/wire/reader.ts";
import { type JsonTable, plain, readJson, writeJson } from "../src/wire/text.ts";
import { goldenCases, goldenGraphs } from "./graph_cases.ts";
import { printReadings } from "./mutations.ts";
import { hex } from "./support.ts";

const TIMES = 1500, MOST = 2 ** 26, CASES = goldenCases();
const [LOGISTIC] = CASES, OFFER = Offer.fromJson(plain(LOGISTIC.told.offer));
const text = (value: string): Bytes => new TextEncoder().encode(value) as Bytes;
const MANIFESTS = CASES.map(({ graphs }) => text(writeJson(graphs.manifestOf("train.onnx"))));

const listed = (found: ReadonlyMap<string, Value> | Ports) => {
  return [...found].map(([name, { shape, dtype }]) => `${name} ${dtype} ${shape.join("x")}`).join(", ");
};

const READERS: Readonly<Record<string, readonly [readonly Bytes[], (data: Bytes) => string]>> = {
  graph: [CASES.flatMap(({ graphs }) => graphs.files.map(([, content]) => content)), (data) => {
    const walk = new Walk(graphOf(data)[0], MOST);
    return `${walk.needed} ${listed(walk.inputs)} ${listed(walk.outputs)}`;
  }],
  json: [MANIFESTS, (data) => hex(text(writeJson(readJson(textOf(data)))))],
  manifest: [MANIFESTS, (data) => {
    const { inputs, outputs, layout, loss } = signatureOf(readJson(textOf(data)) as JsonTable, "train");
    return hex(text(`${listed(inputs)} ${listed(outputs)} ${layout.fingerprint} ${loss}`));
  }],
  travelled: [[goldenGraphs("logistic")], (data) => OFFER.opened(data).hash],
};

printReadings(READERS, TIMES);
