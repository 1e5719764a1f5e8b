/** Print damaged messages with what is read from them, for a comparison with Python: `KIND HEX READING`. */

import { unpackIndices } from "../src/ring/packing.ts";
import * as secure from "../src/secure/codec.ts";
import * as messages from "../src/secure/messages.ts";
import type { Bytes } from "../src/types.ts";
import * as codec from "../src/wire/codec.ts";
import { LINES } from "./masked_round.ts";
import { printReadings } from "./mutations.ts";
import { bytes, hex, safetensors, vectors } from "./support.ts";

const TIMES = 2000;
const CONTENTS = Object.values<any>(vectors("messages").messages).map(({ bytes: data }) => bytes(data));
const POSITIONS = ["rice", "bitmap"].map((code) =>
  safetensors(`payloads/top-k-${code}.safetensors`).arrays.get("1/sent/indices") as Bytes);
const told = (what: string) => [bytes(LINES.get(what) ?? "")];

const READERS: Record<string, [readonly Bytes[], (data: Bytes) => string]> = {
  content: [CONTENTS, (data) => hex(codec.encode(codec.decode(data)))],
  setup: [told("setup"), (data) => hex(secure.encode(messages.SETUP, secure.decode(messages.SETUP, data)))],
  delivery: [told("delivery client-004"), (data) => {
    return hex(secure.encode(messages.DELIVERY, secure.decode(messages.DELIVERY, data)));
  }],
  positions: [POSITIONS, (data) => String(unpackIndices(data, 203, 10))],
};

printReadings(READERS, TIMES);
