import assert from "node:assert/strict";
import { test } from "node:test";
import { Outbox } from "../src/node/outbox.ts";
import { MemoryStore } from "../src/node/store.ts";
import type { Bytes } from "../src/types.ts";
import type { Message } from "../src/wire/protobuf.ts";
import { bytes } from "./support.ts";

const message = (id: string): Message => ({
  metadata: {
    run_id: 2n ** 63n, message_id: id, src_node_id: 1n, dst_node_id: 2n, reply_to_message_id: "", group_id: "3",
    ttl: 9.5, message_type: "train", created_at: 1.25,
  },
  content: bytes("0a00"),
});
const TREE: Message = { object_id: "t", children: [{ object_id: "u", children: [] }] };
const ids = async (outbox: Outbox) => (await outbox.pending()).map(({ id }) => id);

test("messages are there again after a page is closed, in the order in which they came", async () => {
  const store = new MemoryStore(), outbox = new Outbox(store, () => 7);
  for (const id of ["b", "a", "c"]) await outbox.receive(message(id), TREE);
  assert.deepEqual(await ids(new Outbox(store)), ["b", "a", "c"]);
  await outbox.receive(message("b"), TREE); // handed out twice
  assert.deepEqual(await ids(outbox), ["b", "a", "c"]);
  const [come] = await new Outbox(store).pending();
  assert.deepEqual([come.message, come.tree, come.made], [message("b"), TREE, 0]);
  await outbox.done(come);
  await outbox.receive(message("d"), TREE);
  assert.deepEqual(await ids(outbox), ["a", "c", "d"]);
});

test("an answer is fixed to the last byte, and one that is gone is made again", async () => {
  const store = new MemoryStore(), outbox = new Outbox(store, () => 7), come = await outbox.receive(message("a"), TREE);
  await outbox.keep("k", bytes("0102"), new Map([["state/r", bytes("03")]]));
  await outbox.settle({ ...come, bundled: true, reply: "r" }, { answer: "k" });
  const [found] = await new Outbox(store).pending();
  assert.deepEqual([found.answer, found.made, found.bundled, found.reply], ["k", 7, true, "r"]);
  assert.deepEqual(await outbox.answer("k"), bytes("0102"));
  assert.deepEqual(await store.get("state/r"), bytes("03"));
  assert.equal(await outbox.lastMade(), 7);
  await store.put(new Map([["outbox/answers/k", undefined]]));
  const [again] = await outbox.pending();
  assert.deepEqual([again.answer, again.made], ["", 0]);
});

test("what another version has kept, and cannot be read, is forgotten", async () => {
  const store = new MemoryStore(), outbox = new Outbox(store);
  await store.put(new Map([["outbox/pending/1-x", bytes("7b7d")], ["outbox/pending/2-y", bytes("ff")]]));
  assert.deepEqual(await outbox.pending(), []);
  assert.deepEqual(await store.names("outbox/pending/"), []);
});

test("old answers make way, but for those that are not sent yet; and a change is one transaction", async () => {
  class Counting extends MemoryStore {
    puts = 0;
    override async put(changes: ReadonlyMap<string, Bytes | undefined>) {
      this.puts++;
      await super.put(changes);
    }
  }
  const store = new Counting(), outbox = new Outbox(store), come = await outbox.receive(message("a"), TREE);
  await outbox.keep("first", bytes("00"));
  await outbox.settle(come, { answer: "first" });
  store.puts = 0;
  for (let i = 0; i < 40; i++) await outbox.keep(`k${i}`, bytes("01"));
  assert.equal(store.puts, 40);
  const kept = (await store.names("outbox/answers/")).map((name) => name.slice("outbox/answers/".length));
  assert.deepEqual(kept, ["first", ...Array.from({ length: 32 }, (_, i) => `k${i + 8}`)].sort());
});

test("one request opens a masked round, and no earlier round is opened after it", async () => {
  const store = new MemoryStore(), outbox = new Outbox(store);
  await outbox.claim("run", 3, "k");
  await new Outbox(store).claim("run", 3, "k");
  await assert.rejects(new Outbox(store).claim("run", 3, "other"), { why: "AlreadyAnswered" });
  await assert.rejects(outbox.claim("run", 2, "k"), { why: "StaleRound" });
  await outbox.claim("another", 1, "x");
  await outbox.claim("run", 4, "other");
});
