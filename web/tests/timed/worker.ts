/** A worker that trains by the graphs of a folder of its server, when its page asks; `main.ts` has what it is asked. */

import type { Bytes } from "../../src/types.ts";
import { Steps } from "./steps.ts";

let model: Steps | undefined, epoch: (() => Promise<void>) | undefined;

const CALLS: Readonly<Record<string, (given: string) => unknown>> = {
  load: async (folder) => (model = await Steps.of((name) => fetched(`/${folder}/${name}`))),
  begin: () => model?.begin(),
  prepare: (steps) => (epoch = model?.epoch(Number(steps))),
  epoch: () => epoch?.(),
};

async function fetched(path: string): Promise<Bytes> {
  return new Uint8Array(await (await fetch(path)).arrayBuffer());
}

addEventListener("message", ({ data: [call, given] }: MessageEvent<[string, string]>) => {
  const began = performance.now();
  Promise.resolve(CALLS[call](given)).then(() => postMessage({ took: performance.now() - began }),
    (error) => postMessage({ error: String(error) }));
});
