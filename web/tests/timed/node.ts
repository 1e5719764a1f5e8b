/**
 * Times steps of local training by the graphs of a folder: `node build/tests/timed/node.js FOLDER STEPS`.
 *
 * Prints the processor's milliseconds to inspect and load the graph, with the first step; then, for every line that
 * comes in, trains for so many steps, and prints the milliseconds a step and the process's memory in MiB.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Steps } from "./steps.ts";

const [folder, steps] = [process.argv[2], Number(process.argv[3])];

/** The processor's milliseconds so far. */
function spent(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const began = spent();
const model = await Steps.of((name) => Uint8Array.from(readFileSync(join(folder, name))));
await model.begin();
console.log((spent() - began).toFixed(2));

const epoch = model.epoch(steps);
for await (const _ of createInterface({ input: process.stdin })) {
  const before = spent();
  await epoch();
  console.log(((spent() - before) / steps).toFixed(4), (process.memoryUsage.rss() / 2 ** 20).toFixed(1));
}
