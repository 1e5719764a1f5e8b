/** Damaged messages to every decoder. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRegister } from "../src/client/secure/register_file.ts";
import { readPromotion } from "../src/promotion/lineage.ts";
import { readTensors } from "../src/promotion/tensors.ts";
import { unpack as unpackCodes, unpackIndices } from "../src/ring/packing.ts";
import * as secure from "../src/secure/codec.ts";
import { Refused } from "../src/secure/errors.ts";
import * as messages from "../src/secure/messages.ts";
import { parsePipeline } from "../src/strategies/pipeline/parse.ts";
import { type Bytes, PayloadError } from "../src/types.ts";
import { readArray, STYPE } from "../src/wire/arrays.ts";
import { opened } from "../src/wire/bundle.ts";
import * as codec from "../src/wire/codec.ts";
import { ArrayRecord } from "../src/wire/content.ts";
import { decodeFleet } from "../src/wire/fleet.ts";
import { unpackTrain } from "../src/wire/messages.ts";
import { unpack } from "../src/wire/objects.ts";
import { textOf } from "../src/wire/reader.ts";
import * as protobuf from "../src/wire/protobuf.ts";
import { RECORDS } from "../src/wire/schema.ts";
import { LINES } from "./masked_round.ts";
import { fuzz, refusing, TIMES } from "./fuzzing.ts";
import { mutations } from "./mutations.ts";
import { bytes, goldenBytes, goldenNames, hex, LAYOUT, safetensors, vectors } from "./support.ts";

const CONTENTS = Object.values<any>(vectors("messages").messages).map(({ bytes: data }) => bytes(data));
const OBJECTS = vectors("objects").packed, CALLS = vectors("fleet");

fuzz("codec.decode", CONTENTS, codec.decode);
const TRAIN = bytes(vectors("messages").messages.train.bytes);
fuzz("unpackTrain", [TRAIN], (data) => unpackTrain(codec.decode(data), LAYOUT));
fuzz("bundle.opened", CONTENTS, (data) => opened(codec.decode(data), "hedgerow"));

test("what is read strictly has one encoding", () => {
  const delivery = bytes(LINES.get("delivery client-004") ?? "");
  const kinds: [readonly Bytes[], (data: Bytes) => Bytes][] = [
    [CONTENTS, (data) => {
      const found = protobuf.decode(RECORDS, "RecordDict", data, "strict");
      return protobuf.encode(RECORDS, "RecordDict", found);
    }],
    [[delivery], (data) => secure.encode(messages.DELIVERY, secure.decode(messages.DELIVERY, data))],
  ];
  for (const [good, again] of kinds) {
    let read = 0, left = TIMES;
    for (const data of mutations("one encoding", good)) {
      if (left-- === 0) break;
      try {
        assert.ok(Buffer.compare(again(data), data) === 0, hex(data));
        read++;
      } catch (error) {
        assert.ok(error instanceof PayloadError || error instanceof Refused, `${hex(data)}: ${error}`);
      }
    }
    assert.ok(read > TIMES / 50);
  }
});

fuzz("readArray", CONTENTS.flatMap((data) => [...codec.decode(data).values()])
  .flatMap((record) => (record instanceof ArrayRecord ? [...record.values()].map((array) => array.data) : [])),
(data) => readArray({ dtype: "", shape: [], stype: STYPE, data }, "an array"));

const ANSWERS = [
  "PullMessagesResponse", "PullObjectResponse", "PushMessagesResponse", "PushObjectResponse", "ActivateNodeResponse",
  "SendNodeHeartbeatResponse",
];
for (const name of ANSWERS) {
  fuzz(name, [bytes(CALLS[name].bytes)], (data) => decodeFleet(name, data));
}

const { root: ROOT, objects: FOUND } = OBJECTS["train with a stream and clients not counted"];
const TREE = Object.entries<string>(FOUND).map(([id, data]): [string, Bytes] => [id, bytes(data)]);
const WHOLE = TREE.reduce((total, [, data]) => total + data.length, 0);
let at = 0;
fuzz("objects.unpack", TREE.map(([, data]) => data), (data) => {
  const damaged = at++ % TREE.length; // it takes the place of each object in turn
  return unpack(ROOT, new Map(TREE.map(([id, each], i) => [id, i === damaged ? data : each])));
}, (data) => WHOLE + data.length);

const KINDS: Record<string, secure.Codec<any>> = {
  setup: messages.SETUP, advert: messages.ADVERT, adverts: messages.ADVERTS, shares: messages.SHARES,
  delivery: messages.DELIVERY, masked: messages.MASKED, survivors: messages.SURVIVORS, signed: messages.SIGNED,
  unmask: messages.UNMASK, revealed: messages.REVEALED,
};
for (const [what, kind] of Object.entries(KINDS)) {
  const good = [...LINES].filter(([name]) => name.split(" ")[0] === what).map(([, data]) => bytes(data));
  fuzz(`a masked round's '${what}'`, good, (data) => secure.decode(kind, data));
}

const POSITIONS = goldenNames("payloads").filter((name) => /^top-k-(rice|bitmap)/.test(name));
for (const name of POSITIONS) {
  const { arrays } = safetensors(`payloads/${name}`), indices = arrays.get("1/sent/indices") as Bytes;
  const count = arrays.get("1/sent/values")?.length ?? 0;
  const size = (data: Bytes) => data.length + 8 * count; // the positions that are asked for
  fuzz(`unpackIndices of ${name}`, [indices], (data) => unpackIndices(data, 203, count), size);
}
fuzz("unpack", [bytes(`${"00ff".repeat(19)}007f`)], (data) => unpackCodes(data, 11, 29));

const TEXTS = Object.keys(vectors("pipelines").pipelines);
const utf8 = (text: string): Bytes => Uint8Array.from(new TextEncoder().encode(text));
fuzz("parsePipeline", TEXTS.map(utf8), (data) => parsePipeline(String.fromCharCode(...data)));

const REGISTERS = Object.values<any>(vectors("registers").signed).map(({ text }) => utf8(text));
fuzz("a register", REGISTERS, (data) => parseRegister(textOf(data)), (data) => 2 * data.length);
fuzz("a promotion", [utf8(JSON.stringify({
  number: 1, time: "2026-11-29", model: "ab".repeat(32), size: 5, rule: {}, description: "{}",
  lineage: { recipe: "a", run: "b", round: 1, trust: "signed", hedgerow: "0.1.0" },
}))], refusing((data) => readPromotion(JSON.parse(textOf(data))), SyntaxError), (data) => 2 * data.length);
const FILES = goldenNames("payloads").slice(0, 3).map((name) => goldenBytes(`payloads/${name}`));
fuzz("a model's file", FILES, readTensors, (data) => 2 * data.length);
