/** The page's end of its worker. */

import type { Asked, Calls, Kind, Shown, Told } from "./messages.ts";

/** What went wrong in the worker. */
export class WorkerError extends Error {
  readonly kind: Kind;

  constructor(text: string, kind: Kind) {
    super(text);
    this.kind = kind;
  }
}

interface Waiting {
  readonly resolve: (answer: never) => void;
  readonly reject: (error: Error) => void;
}

/** Calls of the worker, and what it tells by itself. */
export class Link {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  /** `shown` is told of each change of what the page shows. */
  constructor(worker: Worker, shown: (shown: Shown) => void) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data }: MessageEvent<Told>) => {
      if ("shown" in data) shown(data.shown);
      else this.#answered(data);
    });
    worker.addEventListener("error", (event) => {
      const failed = new WorkerError(event.message || "the page's worker cannot run", "");
      for (const { reject } of this.#waiting.values()) reject(failed);
      this.#waiting.clear();
    });
  }

  /** The answer of a call. Throws `WorkerError`. */
  call<N extends keyof Calls>(call: N, ...given: Parameters<Calls[N]>): Promise<Awaited<ReturnType<Calls[N]>>> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as Waiting["resolve"], reject });
      this.#worker.postMessage({ id, call, given } as Asked);
    });
  }

  #answered(told: Exclude<Told, { shown: Shown }>): void {
    const waiting = this.#waiting.get(told.id);
    this.#waiting.delete(told.id);
    if ("error" in told) waiting?.reject(new WorkerError(told.error, told.kind));
    else waiting?.resolve(told.answer as never);
  }
}
