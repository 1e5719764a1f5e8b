/** Print the hash of each strategy whose description is a line of the input, or why it is refused. */

import { readFileSync } from "node:fs";
import { build } from "../src/recipe/strategy.ts";
import { strategyHash } from "../src/strategies/strategy.ts";
import { readJson } from "../src/wire/text.ts";

for (const text of readFileSync(0, "utf8").trim().split("\n")) {
  try {
    console.log(strategyHash(build(readJson(text))));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    console.log(`refused: ${error.message.replaceAll("\n", " ")}`);
  }
}
