/** Print what the trainer of this client finds for the fits in a file, as JSON: `fits.js FILE`. */

import { readFileSync } from "node:fs";
import { OnnxTrainer } from "../src/client/onnx/trainer.ts";
import { bytesOf } from "../src/types.ts";
import { casesIn, fitted } from "./graph_cases.ts";
import { hex } from "./support.ts";

const found: Record<string, unknown> = {};
for (const each of casesIn(readFileSync(process.argv[2], "utf8"))) {
  const fit = await fitted(each), trainer = new OnnxTrainer(each.graphs);
  const evaluated = await trainer.evaluate(each.model, each.samples);
  await trainer.release();
  found[each.name] = {
    delta: hex(bytesOf(fit.delta)), buffers: hex(bytesOf(fit.buffers)), metrics: Object.fromEntries(fit.metrics),
    evaluated: Object.fromEntries(evaluated),
  };
}
console.log(JSON.stringify(found));
