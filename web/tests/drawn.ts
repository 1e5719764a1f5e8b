/** Prints the pixels of a drawing, a byte each in hexadecimal: `node build/tests/drawn.js STROKES HEIGHT WIDTH`. */

import { drawnPicture } from "../src/data/strokes.ts";
import { hex } from "./support.ts";

const [strokes, height, width] = process.argv.slice(2).map((each): unknown => JSON.parse(each));
const lines = (strokes as number[][]).map((points) => Float32Array.from(points));
console.log(hex(drawnPicture(lines, height as number, width as number)));
