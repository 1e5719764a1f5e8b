/** A device's answers to messages of any run: what is kept, repeated, refused and told. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { GraphRules } from "../src/client/graph_rules.ts";
import { MemoryStore } from "../src/node/store.ts";
import { DoesNotFit } from "../src/recipe/own_data.ts";
import type { Bytes } from "../src/types.ts";
import { asked, described, OPEN, Phone, policyOf, recorded, RUN } from "./a_phone.ts";
import { Exact, layoutOf } from "./exact.ts";
import { bytes } from "./support.ts";

const PLAIN = recorded("alone", "plain"), RESIDUALS = recorded("alone", "residuals");
const PLAIN_RUN = described(PLAIN), RESIDUALS_RUN = described(RESIDUALS);

test("a page closed between rounds goes on where it was, and a round asked again gives the same bytes", async () => {
  const store = new MemoryStore();
  for (const { kind, request, reply } of RESIDUALS.messages.slice(0, 3)) {
    const phone = new Phone(RESIDUALS, {}, store), message = asked(request, RESIDUALS_RUN);
    assert.equal(await phone.answer(kind, message), reply);
    assert.equal(await phone.answer(kind, message), reply);
    assert.equal(phone.trainer.asked.length, 1, "the second answer is the first one");
  }
  assert.equal((await store.names("answers/")).length, 3);
  const sent = await store.names("outbox/answers/");
  await store.put(new Map(sent.map((name): [string, undefined] => [name, undefined])));
  const { kind, request, reply } = RESIDUALS.messages[2]; // as of a server that was restarted before it was saved
  assert.equal(await new Phone(RESIDUALS, {}, store).answer(kind, asked(request, RESIDUALS_RUN)), reply);
  assert.deepEqual((await store.names(`state/${RUN}/rounds/`)).map((name) => Number(name.split("/").at(-1))), [2, 3]);
});

test("a description is sent once, and one that is not known is asked for", async () => {
  const phone = new Phone(PLAIN), [{ kind, request, reply }] = PLAIN.messages;
  await assert.rejects(phone.answer(kind, asked(request, PLAIN_RUN, { whole: false })), { why: "UnknownDescription" });
  await phone.answer("query", asked("", PLAIN_RUN));
  assert.equal(await phone.answer(kind, asked(request, PLAIN_RUN, { whole: false })), reply);
});

test("a model's constants are sent once, and kept for the next run too", async () => {
  const phone = new Phone(PLAIN), [first, second] = PLAIN.messages; // the second only names them
  await assert.rejects(phone.answer("train", asked(second.request, PLAIN_RUN)), { why: "LacksConstants" });
  await phone.answer("train", asked(first.request, PLAIN_RUN));
  const other = new Phone(PLAIN, {}, phone.store);
  assert.equal(await other.answer("train", asked(second.request, PLAIN_RUN, { run: "0".repeat(32) })), second.reply);
  assert.equal((await phone.store.names("constants/")).length, 1);
});

test("messages that come at once are answered one after another", async () => {
  const phone = new Phone(RESIDUALS), messages = RESIDUALS.messages.slice(0, 3);
  const asking = messages.map(({ kind, request }: any) => phone.answer(kind, asked(request, RESIDUALS_RUN)));
  const found = await Promise.all(asking);
  assert.deepEqual(found, messages.map(({ reply }: any) => reply));
});

test("by its policy a phone sends nothing in the clear, and a change of it counts from the next message", async () => {
  let policy = policyOf();
  const phone = new Phone(PLAIN, { policy: async () => policy }), [{ kind, request, reply }] = PLAIN.messages;
  const why = "rule masked_only: the device sends no update in the clear; rule statistics: an update in the clear"
    + " reveals loss and number of samples";
  await assert.rejects(phone.answer(kind, asked(request, PLAIN_RUN)), { why: "AgainstPolicy", message: why });
  policy = policyOf(OPEN);
  assert.equal(await phone.answer(kind, asked(request, PLAIN_RUN)), reply);
  policy = policyOf({ ...OPEN, most_answers: 1 });
  const [, { request: next }] = PLAIN.messages;
  await assert.rejects(phone.answer(kind, asked(next, PLAIN_RUN)), { message: /^rule most_answers/ });
  assert.equal(phone.trainer.asked.length, 1);
});

test("graphs that the policy does not list are refused before they are fetched", async () => {
  let fetched = 0;
  const graphs = { get: async () => (fetched++, bytes("00")) }, [{ kind, request }] = PLAIN.messages;
  for (const [rules, why] of [
    [new GraphRules(), /^rule graphs: the device takes no graphs/],
    [new GraphRules({ hashes: ["d".repeat(64)], in_the_clear: true }), /^rule graphs: the graphs c+\.\.\. are not/],
    [new GraphRules({ hashes: ["c".repeat(64)] }), /^rule graphs: a graph could return the data/],
  ] as const) {
    const phone = new Phone(PLAIN, { graphs, policy: async () => policyOf({ ...OPEN, graphs: rules }) });
    await assert.rejects(phone.answer(kind, asked(request, PLAIN_RUN)), { message: why });
  }
  assert.equal(fetched, 0);
});

test("an error is told by a sentence alone, is in the device's own log, and counts as an answer", async () => {
  const made = new Exact(layoutOf(PLAIN.layout)), [{ kind, request }] = PLAIN.messages;
  made.fit = async () => {
    throw new RangeError("sample 3, jane doe, is wrong");
  };
  const phone = new Phone(PLAIN, { made });
  const sentence = "This client could not answer; why is in its own log.";
  await assert.rejects(phone.answer(kind, asked(request, PLAIN_RUN)), { why: "ClientFailed", message: sentence });
  assert.match(phone.logged.join(), /jane doe/);
  assert.equal(await phone.answers(), 1);
  const other = new Phone(PLAIN, { data: { samples: async () => Promise.reject(new DoesNotFit("row 3: jane doe")) } });
  await assert.rejects(other.answer(kind, asked(request, PLAIN_RUN)), (error: any) => {
    assert.deepEqual([error.why, /jane/.test(error.message)], ["DataDoNotFit", false]);
    return true;
  });
  assert.equal(await other.answers(), 0, "the data were not reached");
});

test("a run that cannot be trained here is refused by its reason", async () => {
  const [{ kind, request }] = PLAIN.messages, phone = (parts = {}) => new Phone(PLAIN, parts);
  const refuses = async (why: string, description: string, parts = {}, version = "0.1.0") =>
    await assert.rejects(phone(parts).answer(kind, asked(request, description, { version })), { why });
  await refuses("OtherVersion", PLAIN_RUN, {}, "0.9.0");
  await refuses("NoTrainer", described(PLAIN, { graphs: null }));
  await refuses("OtherModel", described(PLAIN, { layout: "0".repeat(16) }));
  await refuses("AgainstPolicy", described(PLAIN, { data: { name: "digits", held_out: null, held_out_by: "row" } }));
  await refuses("ClientFailed", "{}");
  const made = new Exact(layoutOf(PLAIN.layout));
  const plain = { made: Object.assign(made, { supports: new Set() }) };
  await refuses("CannotTrain", PLAIN_RUN.replace("fedavg", "scaffold"), plain);
  await assert.rejects(phone().answer(kind, new Map()), { why: "NoDescription" });
  await assert.rejects(phone().answer("train.keys", asked("", PLAIN_RUN)), { why: "ClientFailed" });
});

test("a network that is lost while graphs are fetched is no answer, and the message is answered later", async () => {
  let lost = true;
  const get = async () => (lost ? Promise.reject(new TypeError("failed to fetch")) : bytes("00"));
  const phone = new Phone(PLAIN, { graphs: { get } }), [{ kind, request, reply }] = PLAIN.messages;
  await assert.rejects(phone.answer(kind, asked(request, PLAIN_RUN)), TypeError);
  lost = false;
  assert.equal(await phone.answer(kind, asked(request, PLAIN_RUN)), reply);
  assert.equal(await phone.answers(), 1);
});

test("a full store keeps nothing of an answer, and sends none; with room again it is the same", async () => {
  class Full extends MemoryStore {
    full = false;
    override async put(changes: ReadonlyMap<string, Bytes | undefined>) {
      if (this.full && [...changes.keys()].some((name) => name.startsWith("outbox/"))) {
        throw new DOMException("no room", "QuotaExceededError");
      }
      await super.put(changes);
    }
  }
  const store = new Full(), phone = new Phone(RESIDUALS, {}, store), [{ kind, request, reply }] = RESIDUALS.messages;
  store.full = true;
  await assert.rejects(phone.answer(kind, asked(request, RESIDUALS_RUN)), { name: "QuotaExceededError" });
  store.full = false;
  assert.equal(await new Phone(RESIDUALS, {}, store).answer(kind, asked(request, RESIDUALS_RUN)), reply);
});

test("a state that has changed is refused once, and the round after that starts from the one before", async () => {
  const phone = new Phone(RESIDUALS), [one, two, three] = RESIDUALS.messages;
  await phone.answer("train", asked(one.request, RESIDUALS_RUN));
  await phone.answer("train", asked(two.request, RESIDUALS_RUN));
  const [, last] = await phone.store.names(`state/${RUN}/rounds/`), data = await phone.store.get(last) as Bytes;
  data[data.length - 1] ^= 1;
  await phone.store.put(new Map([[last, data]]));
  await assert.rejects(phone.answer("train", asked(three.request, RESIDUALS_RUN)), { why: "LostState" });
  assert.notEqual(await phone.answer("train", asked(three.request, RESIDUALS_RUN)), three.reply);
});

test("a record of answers that was changed makes the device answer nothing", async () => {
  const phone = new Phone(PLAIN, { policy: async () => policyOf({ ...OPEN, most_answers: 9 }) });
  const [one, two] = PLAIN.messages;
  await phone.answer("train", asked(one.request, PLAIN_RUN));
  await phone.store.put(new Map([["answers.json", undefined]]));
  await assert.rejects(phone.answer("train", asked(two.request, PLAIN_RUN)), { why: "ClientFailed" });
  assert.match(phone.logged.join(), /record of this device's answers cannot be read/);
});
