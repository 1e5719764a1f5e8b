/** Damaged graphs, manifests and bundles. */

import { sha256 } from "@noble/hashes/sha2.js";
import { inspect, graphOf } from "../src/graphs/inspection.ts";
import { Offer } from "../src/graphs/offer.ts";
import { personalStart } from "../src/graphs/personal.ts";
import { signatureOf } from "../src/graphs/signature.ts";
import { Walk } from "../src/graphs/walk.ts";
import { Split } from "../src/strategies/split.ts";
import type { Bytes } from "../src/types.ts";
import { textOf } from "../src/wire/reader.ts";
import { type JsonTable, plain, readJson } from "../src/wire/text.ts";
import { fuzz } from "./fuzzing.ts";
import { goldenCases, goldenGraphs } from "./graph_cases.ts";
import { hex } from "./support.ts";

const CASES = goldenCases(), MOST = 2 ** 26;
const text = (value: unknown): Bytes => new TextEncoder().encode(JSON.stringify(value)) as Bytes;

fuzz("graphs as they travel", ["logistic", "momentum"].map(goldenGraphs), (data) => {
  const start = data.indexOf(10) + 1, head = String.fromCharCode(...data.subarray(0, Math.min(start, 200)));
  const described = data.subarray(start, start + Number(head.split(" ")[3]));
  inspect(new Offer(hex(sha256(described)), data.length).opened(data), MOST);
});

fuzz("a graph", CASES.flatMap(({ graphs }) => graphs.files.map(([, content]) => content)), (data) => {
  return new Walk(graphOf(data)[0], MOST);
});

for (const [kind, name] of [["train", "train.onnx"], ["evaluate", "evaluate.onnx"]] as const) {
  const good = CASES.map(({ graphs }) => text(plain(graphs.manifestOf(name))));
  fuzz(`a manifest to ${kind}`, good, (data) => signatureOf(readJson(textOf(data)) as JsonTable, kind));
}

const OFFERS = CASES.map(({ told }) => text(plain(told.offer)));
fuzz("an offer of graphs", OFFERS, (data) => Offer.fromJson(plain(readJson(textOf(data)))));

const { graphs: PERSONAL } = CASES.find(({ name }) => name === "momentum") as (typeof CASES)[number];
const { layout } = signatureOf(PERSONAL.manifestOf("train.onnx"), "train");
const split = new Split(layout, new Set(["linear.weight", "linear.bias"]));
const whole = 4 * layout.dimension; // bytes of the model of which the values are a part
fuzz("the start of personal layers", [text(plain(PERSONAL.manifest.personal))], (data) => {
  return personalStart({ manifest: { personal: readJson(textOf(data)) } } as unknown as typeof PERSONAL, split, 3n);
}, (data) => data.length + whole);
