/** Read tables, `HEX SCHEMA` in each line of a file, and print what is read: for a comparison with Python. */

import { readFileSync } from "node:fs";
import { fitted } from "../src/data/fitted.ts";
import { Unfit } from "../src/data/unfit.ts";
import { OwnSchema } from "../src/recipe/own_data.ts";
import { bytesOf } from "../src/types.ts";
import { readJson } from "../src/wire/text.ts";
import { bytes, hex } from "./support.ts";

const none = () => Promise.reject(new Error("no picture is asked for"));

for (const line of readFileSync(process.argv[2], "utf8").trimEnd().split("\n")) {
  const [file, schema] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
  try {
    const entry = { kind: "table", name: "own.csv", file: bytes(file) } as const;
    const { inputs, targets } = await fitted(entry, OwnSchema.fromJson(readJson(schema)), none);
    console.log(`${hex(bytesOf(inputs as Float32Array<ArrayBuffer>))} ${hex(bytesOf(Float32Array.from(targets)))}`);
  } catch (error) {
    if (!(error instanceof Unfit)) throw error;
    console.log(`refused: ${JSON.stringify(error.why)}`);
  }
}
