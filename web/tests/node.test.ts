import assert from "node:assert/strict";
import { test } from "node:test";
import { replyTo } from "../src/node/reply.ts";
import { PayloadError } from "../src/types.ts";
import { NAME, bundled, inEnvelope, opened } from "../src/wire/bundle.ts";
import * as codec from "../src/wire/codec.ts";
import { ArrayRecord, ConfigRecord } from "../src/wire/content.ts";
import { decodeFleet, encodeFleet, FLEET } from "../src/wire/fleet.ts";
import { CHUNK, pack, unpack } from "../src/wire/objects.ts";
import type { Message, Value } from "../src/wire/protobuf.ts";
import { bytes, hex, vectors } from "./support.ts";

const TOLD = vectors("objects"), MESSAGES = vectors("messages").messages, CALLS = vectors("fleet");

/** A message whose fields hold their own numbers, as `node_vectors.filled` makes it. */
function filled(name: string, depth: number): Message {
  const message: Message = {};
  for (const [field, number, kind] of FLEET[name]) {
    const plain = kind.replace(/[*?]$/, "");
    let value: Value | undefined;
    if (plain in FLEET) value = depth < 4 ? filled(plain, depth + 1) : undefined;
    else if (plain === "raw") value = depth < 4 ? new Uint8Array(0) : undefined;
    else if (plain === "string") value = `é${number}`;
    else if (plain === "bytes") value = Uint8Array.of(0, number);
    else if (plain === "double") value = number + 0.5;
    else value = plain === "bool" ? true : plain === "uint64" ? 2n ** 64n - BigInt(number) : BigInt(-number);
    if (value !== undefined) message[field] = kind.endsWith("*") ? [value, value] : value;
  }
  return message;
}

test("each message of the Fleet API has the fields and the bytes that it has in Python", () => {
  const { RecordDict: none, ...others } = CALLS; // a message's content, which is left as its bytes
  assert.deepEqual(none.fields, []);
  assert.deepEqual(Object.keys(FLEET).sort(), Object.keys(others).sort());
  assert.equal(Object.keys(others).length, 22);
  for (const [name, { fields, bytes: data }] of Object.entries<any>(others)) {
    const here = FLEET[name].map(([field, number, kind]) => [field, BigInt(number), kind.replace("raw", "RecordDict")]);
    assert.deepEqual(here, fields, name);
    assert.equal(hex(encodeFleet(name, filled(name, 1))), data, name);
    assert.equal(hex(encodeFleet(name, decodeFleet(name, bytes(data)))), data, name);
  }
});

test("an answer of a newer Flower, with fields that are not known here, is read", () => {
  const unknown = "1a03616263" + "2001" + "290000000000000000" + "3500000000";
  assert.deepEqual(decodeFleet("Node", bytes(`0807${unknown}`)), { node_id: 7n });
  assert.throws(() => decodeFleet("Node", bytes("080712ff")), PayloadError);
});

test("each message has the committed objects, and is read from them again", () => {
  assert.equal(Object.keys(TOLD.packed).length, 12);
  for (const [name, { root, objects }] of Object.entries<any>(TOLD.packed)) {
    const content = codec.decode(bytes(MESSAGES[name].bytes)), [top, found] = pack(content);
    assert.equal(top, root, name);
    assert.deepEqual(Object.fromEntries([...found].map(([id, data]) => [id, hex(data)])), objects, name);
    assert.deepEqual(unpack(root, found), content, name);
  }
});

test("an array of several chunks, of which two are equal, travels as objects", () => {
  const data = new Uint8Array(3 * CHUNK + 10);
  data.fill(7, CHUNK, CHUNK + 1);
  const content = new Map([["model", new ArrayRecord([["x", { dtype: "uint8", shape: [1], stype: "any", data }]])]]);
  const [root, objects] = pack(content);
  assert.equal(objects.size, 3 + 3);
  assert.deepEqual(unpack(root, objects), content);
  objects.delete([...objects.keys()][1]);
  assert.throws(() => unpack(root, objects), /object of the message is missing/);
});

test("a bundle has the committed bytes, and a bundled request is opened", () => {
  const answer = bytes(MESSAGES["train reply"].bytes);
  assert.equal(hex(codec.encode(bundled(answer))), TOLD.bundled);
  const request = new Map([[NAME, new ConfigRecord([["digest", "d"]]).set("content", answer)]]);
  const content = opened(request, NAME);
  assert.deepEqual([...content.keys()], [...codec.decode(answer).keys(), NAME]);
  assert.deepEqual(content.get(NAME), new ConfigRecord([["digest", "d"]]));
  assert.equal(opened(content, NAME), content);
});

test("ids of messages in their envelopes are told from objects' ids", () => {
  assert.equal(TOLD["in an envelope"].length, 2);
  for (const id of TOLD["in an envelope"]) assert.ok(inEnvelope(id));
  assert.ok(!inEnvelope(TOLD.packed.nothing.root));
  assert.ok(!inEnvelope(TOLD["in an envelope"][0].toUpperCase()));
});

for (const [name, told] of Object.entries<any>(TOLD.replies)) {
  test(`a reply as '${name}' has the envelope, tree and objects that Python makes`, () => {
    const asked = decodeFleet("Message", bytes(TOLD.asked));
    const answer = told.error === undefined ? bytes(MESSAGES["train reply"].bytes) : undefined;
    const { bundled, reply, error } = told, come = { answer, bundled, reply, error, made: TOLD.made };
    const { message, tree, objects } = replyTo(asked, come, 2n ** 64n - 2n);
    assert.equal(hex(encodeFleet("Message", message)), told.message);
    assert.equal(hex(encodeFleet("ObjectTree", tree)), told.tree);
    assert.deepEqual(Object.fromEntries([...objects].map(([id, data]) => [id, hex(data)])), told.objects);
  });
}
