import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff, Unreachable } from "../src/node/connection.ts";
import { NotJoined } from "../src/node/join.ts";
import { type Answering } from "../src/node/node.ts";
import { Outbox } from "../src/node/outbox.ts";
import { SENTENCES } from "../src/node/sentences.ts";
import { MemoryStore } from "../src/node/store.ts";
import { InUse, type Locks } from "../src/node/tabs.ts";
import { Phone, type PhoneEvent, type PhoneParts } from "../src/phone.ts";
import { Refused } from "../src/secure/errors.ts";
import { type Bytes, PayloadError } from "../src/types.ts";
import * as codec from "../src/wire/codec.ts";
import { ConfigRecord, type Content } from "../src/wire/content.ts";
import { packIdentity } from "../src/wire/messages.ts";
import type { Message } from "../src/wire/protobuf.ts";
import { Coordinator } from "./coordinator.ts";

const INVITATION = { address: "https://c.example", token: "t" };
const asked = (): Content => new Map([["hedgerow.description", new ConfigRecord([["run", "r"], ["bundles", true]])]]);

/** A phone, what it is made of, and what it has told. */
interface Living {
  readonly to: Coordinator;
  readonly store: MemoryStore;
  readonly parts: PhoneParts;
  readonly told: PhoneEvent[];
  answer: Answering["answer"];
}

function living(store = new MemoryStore()): Living {
  const to = new Coordinator(), outbox = new Outbox(store, () => 9);
  const found: Living = {
    to, store, told: [],
    answer: async () => {
      await outbox.keep("k", codec.encode(packIdentity("phone-1")));
      return "k";
    },
    parts: {
      store, fetch: to.fetch, takesModels: async () => false, backoff: new Backoff(0.01, 0.02),
      answering: () => ({ answer: (...given) => found.answer(...given) }),
    },
  };
  return found;
}

/** Let the phone live until something is so. */
async function until(phone: Phone, { told }: Living, ready: () => boolean): Promise<void> {
  const stop = new AbortController(), late = AbortSignal.timeout(20_000);
  phone.events.addEventListener("phone", (event) => told.push((event as CustomEvent<PhoneEvent>).detail));
  const lives = phone.run(stop.signal);
  while (!ready()) {
    assert.ok(!late.aborted, JSON.stringify(told));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  stop.abort();
  await lives;
}

const said = ({ told }: Living): string[] => told.flatMap((each) => (each.kind === "state" ? [each.sentence] : []));
const errorOf = ({ to }: Living): string => String((to.replies[0].error as Message | undefined)?.reason);

test("a phone joins by a code, is given a name, and is there again when its page is opened again", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts);
  assert.equal(phone.name, "phone-1");
  assert.equal((await Phone.open(one.parts))?.name, "phone-1");
  assert.equal(await Phone.open(living().parts), undefined);
  await assert.rejects(Phone.join(INVITATION, one.parts), /leave it first/);
});

const VERSIONS = "hedgerow is '0.1.0'; this coordinator has 0.4.0 and accepts one minor version more or less: pip ...";
for (const [what, status, body, text] of [
  ["is for another version", 400, { error: VERSIONS }, SENTENCES.version()],
  ["was used up", 403, { error: "as many phones have joined as were invited" }, /were invited; an invitation is good/],
  ["is of somebody else", 409, { error: "the key belongs to another" }, /ask for another invitation/],
  ["leads to no coordinator", 200, "hello", /does not answer like a coordinator/],
  ["leads to something else", 200, { node_id: 1 }, /does not answer like a coordinator/],
] as const) {
  test(`a code that ${what} lets nobody in, and says so`, async () => {
    const one = living();
    one.to.joining = { status, body };
    await assert.rejects(Phone.join(INVITATION, one.parts), (error: unknown) => {
      assert.ok(error instanceof NotJoined, String(error));
      if (typeof text === "string") assert.equal(error.message, text);
      else assert.match(error.message, text);
      return true;
    });
    assert.equal(await Phone.open(one.parts), undefined);
  });
}

test("a message is answered in its envelope, and a page is told of it", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts);
  one.to.ask("train", "3", asked());
  await until(phone, one, () => one.to.replies.length === 1 && one.told.some((each) => each.kind === "bytes"));
  const { metadata, content } = one.to.replies[0], about = metadata as Message;
  assert.deepEqual([about.group_id, about.src_node_id, String(about.message_id).slice(16)], ["3", 7n, "f".repeat(48)]);
  assert.ok((content as Bytes).length > 0);
  assert.deepEqual(one.told.filter((each) => each.kind === "round"), [{ kind: "round", run: "r", round: 3 }]);
  assert.deepEqual(await one.store.names("outbox/pending/"), []);
  assert.equal(one.to.called.at(-1), "deactivate-node");
});

for (const [what, thrown, sent, shown] of [
  ["of a server of another version", new Refused("OtherVersion", "x"), "OtherVersion: x", SENTENCES.version()],
  ["that its policy refuses", new Refused("AgainstPolicy", "rule strategies: x"), "AgainstPolicy: rule strategies: x",
    SENTENCES.refused("AgainstPolicy: rule strategies: x")],
  ["of a run that it has not been told of", new Refused("UnknownDescription", ""), "unknown-description", ""],
  ["that is damaged", new PayloadError("cut off"), "PayloadError: cut off", SENTENCES.refused("PayloadError: cut off")],
] as const) {
  test(`a message ${what} is refused, and the phone goes on`, async () => {
    const one = living(), phone = await Phone.join(INVITATION, one.parts), answer = one.answer;
    let first = true;
    one.answer = async (...given) => {
      if (!first) return await answer(...given);
      first = false;
      throw thrown;
    };
    for (const round of ["1", "2"]) one.to.ask("train", round, asked());
    await until(phone, one, () => one.to.replies.length === 2);
    assert.equal(errorOf(one), sent);
    if (shown) assert.ok(said(one).includes(shown), said(one).join("\n"));
    assert.equal(one.to.replies[1].error, undefined);
  });
}

test("a message is not lost where the browser is full, and nothing is sent that is not kept", async () => {
  let full = false, refused = 0;
  class Full extends MemoryStore {
    override async put(changes: ReadonlyMap<string, Bytes | undefined>) {
      if (full && [...changes.values()].some((value) => value !== undefined) && ++refused) {
        throw new DOMException("no room", "QuotaExceededError");
      }
      await super.put(changes);
    }
  }
  const one = living(new Full()), phone = await Phone.join(INVITATION, one.parts);
  full = true;
  one.to.ask("train", "1", asked());
  await until(phone, one, () => {
    if (refused > 3) full = false;
    return one.to.replies.length === 1 && !full;
  });
  assert.ok(said(one).some((sentence) => /cannot keep what it would send.*no room/.test(sentence)));
  assert.equal(one.to.called.filter((name) => name === "push-messages").length, 1);
});

test("a phone whose storage the browser has cleared says so, and takes part no more", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts);
  let cleared = false;
  one.to.fails = (path) => {
    if (path.endsWith("pull-messages") && !cleared) {
      cleared = true;
      void one.store.erase();
    }
    return undefined;
  };
  await until(phone, one, () => said(one).includes(SENTENCES.cleared()));
  assert.deepEqual(await one.store.names(""), []);
});

test("a server on which one message always fails is left alone with it, if it is well otherwise", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts);
  one.to.ask("train", "1", asked());
  one.to.fails = (path) => (path.endsWith("push-messages") ? new Response("broken", { status: 500 }) : undefined);
  await until(phone, one, () => one.to.called.filter((name) => name === "push-messages").length === 5
    && one.to.called.at(-1) === "pull-messages");
  assert.deepEqual(await one.store.names("outbox/pending/"), []);
});

test("a phone that is asked to leave and cannot say so keeps everything, unless its owner erases it", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts), before = await one.store.names("");
  one.to.fails = () => new TypeError("no network");
  await assert.rejects(phone.leave(), Unreachable);
  assert.deepEqual(await one.store.names(""), before);
  assert.ok(await one.store.key("node"));
  await phone.leave(true);
  assert.deepEqual([await one.store.names(""), await one.store.key("node")], [[], undefined]);
});

test("a phone leaves while it takes part, and one whose key is not known erases it anyway", async () => {
  for (const refused of [false, true]) {
    const one = living(), phone = await Phone.join(INVITATION, one.parts);
    const lives = phone.run(new AbortController().signal);
    if (refused) one.to.fails = (path) => (path === "/leave" ? new Response("", { status: 401 }) : undefined);
    while (!one.to.called.includes("pull-messages")) await new Promise((resolve) => setTimeout(resolve, 5));
    await phone.leave();
    await lives;
    assert.equal(one.to.called.at(-1), "leave");
    assert.deepEqual([await one.store.names(""), await one.store.key("node")], [[], undefined]);
  }
});

test("a phone that takes part in another tab is neither joined nor left in this one, and says so once", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts), before = await one.store.names("");
  const taken: Locks = {
    request: async (_name, { ifAvailable, signal }, held) => {
      if (ifAvailable) return await held(null);
      await new Promise((_resolve, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      return await held({});
    },
  };
  const here = await Phone.open({ ...one.parts, locks: taken });
  await until(here!, one, () => said(one).length > 0);
  assert.deepEqual(said(one), [SENTENCES.second()]);
  await assert.rejects(here!.leave(), InUse);
  await assert.rejects(Phone.join(INVITATION, { ...living().parts, locks: taken }), InUse);
  assert.deepEqual(await one.store.names(""), before);
  assert.deepEqual(one.to.called, ["join"]);
  await phone.leave();
});

test("a new key takes the old one's place, also where the answer to the first try was lost", async () => {
  const one = living(), phone = await Phone.join(INVITATION, one.parts), before = await one.store.key("node");
  one.to.fails = (path) => (path === "/rotate" ? new TypeError("lost") : undefined);
  await assert.rejects(phone.rotate(), Unreachable);
  assert.equal(await one.store.key("node"), before);
  const next = await one.store.key("node.next");
  let times = 0;
  one.to.fails = (path) => {
    if (path !== "/rotate") return undefined;
    return ++times === 1 ? new Response("", { status: 401 }) : Response.json({ node_id: 8 });
  };
  await phone.rotate();
  assert.deepEqual([await one.store.key("node"), await one.store.key("node.next")], [next, undefined]);
  one.to.fails = (path) => (path === "/rotate" ? new Response("", { status: 403 }) : undefined);
  await assert.rejects(phone.rotate(), /the present key stays/);
  assert.deepEqual([await one.store.key("node"), await one.store.key("node.next")], [next, undefined]);
});
