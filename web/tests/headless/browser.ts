/**
 * A phone without a screen: this process is the browser, which keeps bytes and keys, and a thread is its page, which
 * may be closed at any moment. Commands come as lines of JSON, and what the phone tells goes out as such.
 */

import { createInterface } from "node:readline";
import { Worker } from "node:worker_threads";
import { MemoryStore } from "../../src/node/store.ts";

const PAGE = new URL("./page.js", import.meta.url);
const store = new MemoryStore();
const pages = new Map<string, Worker>();

function say(told: unknown): void {
  process.stdout.write(`${JSON.stringify(told)}\n`);
}

/** Open a page, which does what it is asked. */
function open(name: string, asked: object): void {
  const page = new Worker(PAGE, { workerData: asked });
  pages.set(name, page);
  page.on("message", async ({ number, method, given, told }) => {
    if (told !== undefined) return say({ page: name, ...told });
    try {
      const found = await (store[method as keyof MemoryStore] as (...given: unknown[]) => Promise<unknown>)(...given);
      page.postMessage({ number, found });
    } catch (error) {
      page.postMessage({ number, error: String(error) });
    }
  });
  page.on("error", (error) => say({ page: name, kind: "broken", error: String(error?.stack ?? error) }));
  page.on("exit", () => say({ page: name, kind: "closed" }));
}

const COMMANDS: Readonly<Record<string, (told: any) => void>> = {
  open: ({ page, ...asked }) => open(page, asked),
  stop: ({ page }) => pages.get(page)?.postMessage({ stop: true }),
  close: ({ page }) => void pages.get(page)?.terminate(),
  clear: () => void store.erase(),
  names: async () => say({ kind: "names", names: await store.names("") }),
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const told = JSON.parse(line) as { do: string };
  COMMANDS[told.do](told);
});
lines.on("close", () => process.exit());
