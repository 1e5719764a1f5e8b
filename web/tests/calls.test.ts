import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { Backoff, type Calling, checkAddress, Connection, Counted, Denied, isRight, Stopped, Unreachable }
  from "../src/node/connection.ts";
import { Fleet, Lost } from "../src/node/fleet.ts";
import { readAnswer } from "../src/node/join.ts";
import { NodeKey } from "../src/node/keys.ts";
import { type Bytes, PayloadError } from "../src/types.ts";
import { decodeFleet, encodeFleet } from "../src/wire/fleet.ts";
import { objectId, pack } from "../src/wire/objects.ts";
import { replyTo } from "../src/node/reply.ts";
import { bytes, vectors } from "./support.ts";

const NONE: Bytes = new Uint8Array(0), KEY = await NodeKey.of(await NodeKey.make());
type Answers = (asked: IncomingMessage, body: Buffer, answer: ServerResponse) => void;

/** A connection to a server that answers so. */
async function served(answers: Answers, work: (to: Connection, calling: Calling) => Promise<void>, seconds = 30) {
  const server = createServer((asked, answer) => {
    const parts: Buffer[] = [];
    asked.on("data", (part) => parts.push(part)).on("end", () => answers(asked, Buffer.concat(parts), answer));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const calling = { fetch: (address: string, how: RequestInit) => fetch(address, how), counted: new Counted() };
  const to = new Connection(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, KEY, calling, seconds);
  try {
    await work(to, calling);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const always = (status: number, body: string | Bytes, headers: Record<string, string> = {}): Answers =>
  (_asked, _body, answer) => void answer.writeHead(status, headers).end(body);

test("waits between attempts grow, differ, and begin anew after a success", () => {
  const backoff = new Backoff(1, 4), upTo = [1, 2, 4, 4];
  for (const most of upTo) {
    const seconds = backoff.seconds();
    assert.ok(most / 2 <= seconds && seconds <= most, `${seconds}`);
  }
  assert.equal(backoff.seconds(50), 50);
  backoff.reset();
  assert.ok(backoff.seconds() <= 1);
  assert.ok(new Set(Array.from({ length: 20 }, () => new Backoff().seconds())).size > 10);
});

test("an address on another machine has TLS, and nothing but host and port", () => {
  for (const good of ["https://a.example:8443", "https://10.0.0.7/", "http://127.0.0.1:80", "http://localhost:1"]) {
    checkAddress(good);
  }
  const elsewhere = ["http://a.example", "http://127.0.0.1.evil.example"];
  for (const bad of [...elsewhere, "https://a/b", "ftp://a", "a", "", "https://a/?b"]) {
    assert.throws(() => checkAddress(bad), RangeError, bad);
  }
});

test("a call is signed, keeps its body to itself, and says what the server says beside its answer", async () => {
  const model = "ab".repeat(32), told = { "hedgerow-pace": "1.5", "hedgerow-model": model };
  let seen: IncomingMessage | undefined;
  await served((asked, body, answer) => {
    seen = asked;
    answer.writeHead(200, told).end(body);
  }, async (to, { counted }) => {
    assert.deepEqual(await to.call("/x", bytes("0102"), { headers: { prefer: "wait=30" } }), bytes("0102"));
    assert.deepEqual([to.pace, to.model, counted.up, counted.down], [1.5, model, 2, 2]);
    assert.ok(Math.abs(to.ahead ?? 99) < 3);
    assert.deepEqual([seen?.method, seen?.url, seen?.headers.prefer], ["POST", "/x", "wait=30"]);
    assert.ok(seen?.headers["flwr-signature"] && !seen.headers.cookie && !seen.headers.referer);
    await to.call("/y", NONE, { method: "GET" });
    assert.equal(seen?.method, "GET");
  });
});

for (const [status, body, headers, kind, text] of [
  [403, '{"error": "no\\nmore"}', {}, Denied, /^the server refuses \(403\): no more$/],
  [401, "<b>plain</b>", {}, Denied, /<b>plain/],
  [404, "", {}, Denied, /no reason given/],
  [429, '{"detail": "slow"}', { "retry-after": "7" }, Unreachable, /busy \(429\): slow/],
  [503, "x".repeat(5000), { "retry-after": "9999" }, Unreachable, /x{300}$/],
  [302, "", { location: "https://elsewhere.example/" }, Unreachable, /does not answer/],
] as const) {
  test(`an answer with status ${status} is ${kind.name}`, async () => {
    await served(always(status, body, headers), async (to) => {
      const error: unknown = await to.call("/x", NONE).catch((found: unknown) => found);
      assert.ok(error instanceof kind, String(error));
      assert.match(error.message, text);
      if (error instanceof Unreachable) assert.equal(error.seconds, { 429: 7, 503: 60 }[status as number] ?? 0);
    });
  });
}

test("a connection that the server has closed is opened again once, and a new one is not tried twice", async () => {
  let calls = 0, closes = 0;
  await served((_asked, _body, answer) => {
    calls++;
    if (calls === 2 || closes) answer.socket?.destroy();
    else answer.end("ok");
  }, async (to) => {
    await to.call("/x", NONE);
    await to.call("/x", NONE);
    assert.equal(calls, 3);
    closes = 1;
    await assert.rejects(to.call("/x", NONE), Unreachable);
    assert.equal(calls, 5);
    await assert.rejects(to.call("/x", NONE), Unreachable);
    assert.equal(calls, 6);
  });
});

test("a server that says nothing is left after a time, and a call ends when the device is asked to end", async () => {
  await served(() => {}, async (to) => {
    await assert.rejects(to.call("/x", NONE), (error: unknown) => error instanceof Unreachable && error.status === 0);
    const stop = new AbortController(), called = to.call("/x", NONE, { signal: stop.signal });
    stop.abort();
    await assert.rejects(called, Stopped);
  }, 0.2);
});

test("an answer larger than a device should hold is not read to its end", async () => {
  const part = Buffer.alloc(2 ** 20);
  let sent = 0;
  await served((_asked, _body, answer) => {
    answer.on("error", () => {});
    const more = () => {
      while (sent < 200 && !answer.destroyed && answer.write(part)) sent++;
      if (sent < 200 && !answer.destroyed) answer.once("drain", () => (sent++, more()));
    };
    more();
  }, async (to) => {
    await assert.rejects(to.call("/x", NONE), /more than 67108864 bytes/);
    assert.ok(sent < 200);
  });
});

test("a clock is right for a server within its own limits", () => {
  assert.deepEqual([4, 7, -290, -310].map(isRight), [true, false, true, false]);
});

test("a node's id above 2**53 is read exactly, whatever else an answer holds", () => {
  const told = { register: 'a "node_id": 1, b', node_id: 0, trust: "x" };
  const text = JSON.stringify(told).replace(":0,", ":18446744073709551615,");
  assert.deepEqual(readAnswer(Uint8Array.from(Buffer.from(text))),
    { register: 'a "node_id": 1, b', trust: "x", node_id: 2n ** 64n - 1n });
  for (const bad of ['{"node_id": 1.5}', '{"node_id": -1}', '{"node_id": "1"}', '{"node_id": true}']) {
    const { node_id: found } = readAnswer(Uint8Array.from(Buffer.from(bad)));
    assert.ok(bad.includes('"1"') ? found === 1n : found === undefined, bad);
  }
  for (const bad of ["[]", "null", "{", "1"]) {
    assert.throws(() => readAnswer(Uint8Array.from(Buffer.from(bad))), SyntaxError);
  }
});

test("only what the server lacks is sent, and an object that is another, or gone, is named", async () => {
  const asked = bytes(vectors("objects").asked), sent: string[] = [];
  const answer = bytes(vectors("messages").messages["train reply"].bytes);

  const reply = replyTo(decodeFleet("Message", asked), { answer, made: 5 }, 7n);
  const wanted = [...reply.objects.keys()].slice(1);
  await served((call, body, to) => {
    const name = call.url?.split("/").at(-1);
    const found = { "push-messages": ["PushMessagesResponse", { objects_to_push: wanted, session_id: "s" }] as const,
      "push-object": ["PushObjectResponse", { stored: true }] as const }[name as "push-object"];
    if (name === "push-object") sent.push(String(decodeFleet("PushObjectRequest", Uint8Array.from(body)).object_id));
    to.end(encodeFleet(found[0], found[1]));
  }, async (to) => {
    await new Fleet(to, 7n).push(reply);
    assert.deepEqual(sent, wanted);
  });
  const [root, objects] = pack(new Map()), tree = { object_id: root, children: [] };
  const pulled = (content: Bytes | undefined): Answers => (_call, _body, to) => void to.end(encodeFleet(
    "PullObjectResponse", { object_found: !!content, object_available: !!content, object_content: content ?? NONE }));
  await served(pulled(objects.get(root)), async (to) =>
    assert.deepEqual(await new Fleet(to, 7n).fetch(1n, tree), objects));
  await served(pulled(bytes("00")), async (to) => assert.rejects(new Fleet(to, 7n).fetch(1n, tree), PayloadError));
  await served(pulled(undefined), async (to) => assert.rejects(new Fleet(to, 7n).fetch(1n, tree), Lost));
  await served(always(200, bytes("ffff")), async (to) => assert.rejects(new Fleet(to, 7n).pull(), Unreachable));
  const many = { object_id: objectId(NONE), children: [{ object_id: "short", children: [] }] };
  await served(pulled(NONE), async (to) => assert.rejects(new Fleet(to, 7n).fetch(1n, many), PayloadError));
});
