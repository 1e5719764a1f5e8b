import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { Offer } from "../src/graphs/offer.ts";
import { type Calling, Connection, Counted, Denied, Unreachable } from "../src/node/connection.ts";
import { Fleet } from "../src/node/fleet.ts";
import { DeviceGraphs } from "../src/node/graphs.ts";
import { NodeKey } from "../src/node/keys.ts";
import { PromotedModel } from "../src/node/promoted.ts";
import { MemoryStore } from "../src/node/store.ts";
import { Delivered, NotTaken } from "../src/promotion/delivered.ts";
import { floats, readTensors } from "../src/promotion/tensors.ts";
import { type Bytes, PayloadError } from "../src/types.ts";
import { goldenBytes, goldenNames } from "./support.ts";

const PIECE = 4 * 2 ** 20;
const utf8 = (text: string): Bytes => Uint8Array.from(Buffer.from(text));
const sha = (data: Bytes): string => createHash("sha256").update(data).digest("hex");

/** A file with one tensor of so many numbers. */
function model(n: number, first = 1): Bytes {
  const head = utf8(JSON.stringify({ w: { dtype: "F32", shape: [n], data_offsets: [0, 4 * n] } }));
  const file = new Uint8Array(8 + head.length + 4 * n), view = new DataView(file.buffer);
  view.setBigUint64(0, BigInt(head.length), true);
  file.set(head, 8);
  view.setFloat32(8 + head.length, first, true);
  return file;
}

function promotion(file: Bytes, changed: object = {}): Record<string, unknown> {
  const lineage = {
    recipe: "clinics", configuration: "", run: "r", round: 3, clients: 3, privacy: {}, trust: "signed",
    metrics: { loss: 1 }, hedgerow: "0.1.0",
  };
  const told = { number: 1, time: "2026-11-29T00:00:00Z", model: sha(file), size: file.length, rule: {}, lineage };
  return { ...told, description: "{}", ...changed };
}

/** What a coordinator answers that has promoted this. */
function serves(file: Bytes, told = promotion(file)) {
  const asked: string[] = [];
  const ask = async (path: string): Promise<Bytes> => {
    asked.push(path);
    if (path === "/model") return utf8(JSON.stringify(told));
    const place = Number(path.split("/")[3]);
    return file.slice(place * PIECE, (place + 1) * PIECE);
  };
  return { ask, asked };
}

test("a model comes in pieces, is checked, and goes on where the page was closed", async () => {
  const file = model(2.5 * 2 ** 20), store = new MemoryStore(), { ask, asked } = serves(file);
  assert.equal(await new Delivered(store).fetch(ask), undefined);
  assert.equal(await new Delivered(store).fetch(ask), undefined); // another page
  const found = await new Delivered(store).fetch(ask);
  assert.equal(found?.model, sha(file));
  assert.deepEqual(asked.filter((path) => path !== "/model").map((path) => path.split("/")[3]), ["0", "1", "2"]);
  assert.deepEqual(await store.names("models/"), [`models/${sha(file)}.safetensors`]);
  assert.ok(await new Delivered(store).has(sha(file)));
  const kept = await new Delivered(store).model(found!);
  assert.equal(floats(readTensors(kept!).get("w")!)[0], 1);
});

test("the current model and the one before it are kept", async () => {
  const store = new MemoryStore(), delivered = new Delivered(store), files = [1, 2, 3].map((first) => model(4, first));
  for (const file of files) await delivered.fetch(serves(file).ask);
  assert.deepEqual((await delivered.standing()).map((each) => each.model), [files[2], files[1]].map(sha));
  assert.equal((await store.names("models/")).length, 2);
});

for (const [what, file, told] of [
  ["another model", model(4), promotion(model(4, 2))],
  ["no safetensors", utf8("x".repeat(90)), undefined],
  ["less than announced", model(4), promotion(model(4), { size: 5000 })],
  ["too large", model(4), promotion(model(4), { size: 2 ** 33 })],
  ["several lines", model(4), promotion(model(4), { time: "a\nb" })],
  ["no model", model(4), promotion(model(4), { model: "../../x" })],
  ["no promotion", model(4), {}],
] as const) {
  test(`a promoted model that is ${what} is not taken, and nothing of it is kept`, async () => {
    const store = new MemoryStore(), { ask } = serves(file, told);
    await assert.rejects(new Delivered(store).fetch(ask), NotTaken);
    assert.deepEqual(await store.names(""), []);
  });
}

test("a file that is damaged in any byte of its head is no model, or another one", () => {
  const file = model(4), size = file.length - 16;
  for (let at = 0; at < size; at++) {
    const damaged = file.slice();
    damaged[at] ^= 0x15;
    try {
      assert.ok([...readTensors(damaged).values()].every(({ data }) => data.length <= 16));
    } catch (error) {
      assert.ok(error instanceof PayloadError, `${at}: ${error}`);
    }
  }
  for (const cut of [0, 7, 8, 20, file.length - 1]) assert.throws(() => readTensors(file.slice(0, cut)), PayloadError);
});

test("a device follows its coordinator's model between messages, by its owner's leave", async () => {
  const file = model(8), { ask } = serves(file), said: string[] = [];
  let takes = false, fails: Error | undefined;
  const calling: Calling = {
    counted: new Counted(),
    fetch: async (address) => {
      if (fails) throw fails;
      return new Response(await ask(new URL(address).pathname), { headers: { "hedgerow-model": sha(file) } });
    },
  };
  const connection = new Connection("https://c.example", await NodeKey.of(await NodeKey.make()), calling);
  const following = {
    takes: async () => takes, has: (found: { model: string }) => void said.push(found.model),
    left: (why: string) => void said.push(why),
  };
  const store = new MemoryStore(), fleet = new Fleet(connection), followed = () => new PromotedModel(store, following);
  assert.equal(await followed().follow(fleet), false); // none is named yet
  await fleet.get("/model");
  const before = followed();
  assert.equal(await before.follow(fleet), false);
  assert.equal(await before.follow(fleet), false);
  assert.equal(said.length, 1); // once
  assert.match(said[0], /policy/);
  takes = true;
  fails = new TypeError("no network");
  await assert.rejects(followed().follow(fleet), Unreachable);
  fails = undefined;
  assert.equal(await followed().follow(fleet), false);
  assert.deepEqual(said.slice(1), [sha(file)]);
  assert.equal(await followed().follow(fleet), false);
  assert.equal(said.length, 2);
});

test("graphs are fetched once, checked each time, and the eight latest are kept", async () => {
  const store = new MemoryStore(), asked: string[] = [], said: string[] = [];
  const names = goldenNames("graphs").filter((name) => name.endsWith(".graphs"));
  const files = names.map((name) => goldenBytes(`graphs/${name}`));
  const offerOf = (data: Bytes): Offer => {
    const [head] = new TextDecoder().decode(data.subarray(0, 200)).split("\n"), [size] = head.split(": ")[1].split(" ");
    return new Offer(sha(data.slice(head.length + 1, head.length + 1 + Number(size))), data.length);
  };
  let given: Bytes | undefined = files[0];
  const graphs = new DeviceGraphs(store, async (path) => {
    asked.push(path);
    if (!given) throw new Denied(404, "there are none");
    return given;
  }, (why) => said.push(why)), offer = offerOf(files[0]);
  for (const _ of [1, 2]) assert.deepEqual(await graphs.get(offer), files[0]);
  assert.deepEqual(asked, [`/graphs/${offer.hash}`]);
  await store.put(new Map([[`graphs/${offer.hash}`, utf8("damaged")]]));
  assert.deepEqual(await graphs.get(offer), files[0]);
  assert.equal(asked.length, 2);
  await assert.rejects(graphs.get(offerOf(files[1])), { why: "NoGraphs" });
  given = undefined;
  await assert.rejects(graphs.get(offerOf(files[1])), { why: "NoGraphs" });
  assert.equal(said.filter((why) => why === "what was sent as graphs is something else").length, 2);
  assert.match(said[2], /the server refuses \(404\)/);
  const before = Array.from({ length: 8 }, (_, i) => String(i).repeat(64));
  await store.put(new Map([["graphs.json", utf8(JSON.stringify({ hashes: before }))],
    ...before.map((hash): [string, Bytes] => [`graphs/${hash}`, utf8("x")])]));
  given = files[1];
  await graphs.get(offerOf(files[1]));
  assert.equal((await store.names("graphs/")).length, 9); // the first one was not listed any more
  assert.ok(!(await store.names("graphs/")).includes(`graphs/${before[7]}`));
});
