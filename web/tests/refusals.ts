/** Print why graphs in a file are refused, as JSON by name, empty if they are taken: `refusals.js FILE`. */

import { readFileSync } from "node:fs";
import { OnnxTrainer } from "../src/client/onnx/trainer.ts";
import { checkRun } from "../src/graphs/agreement.ts";
import { inspect } from "../src/graphs/inspection.ts";
import { Offer } from "../src/graphs/offer.ts";
import { Split } from "../src/strategies/split.ts";
import { LocalTraining } from "../src/training.ts";
import { type JsonTable, plain, readJson } from "../src/wire/text.ts";
import { bytes } from "./support.ts";

const found: Record<string, string> = {};
for (const [name, told] of Object.entries(readJson(readFileSync(process.argv[2], "utf8")) as JsonTable)) {
  const { offer, graphs, most, local, corrects, kind, layout, inspected } = told as JsonTable;
  const strategy = {
    local: new LocalTraining(local as JsonTable), streams: corrects ? [{ correction: true }] : [],
    split: (whole: Split["whole"]) => new Split(whole, new Set()),
  };
  found[name] = "";
  try {
    const opened = Offer.fromJson(plain(offer)).opened(bytes(graphs as string));
    if (inspected) {
      inspect(opened, Number(most));
      checkRun(opened, { strategy, kind: kind as string, layout: layout as string, seed: 0n });
    }
    new OnnxTrainer(opened);
  } catch (error) {
    found[name] = (error as Error).message;
  }
}
console.log(JSON.stringify(found));
