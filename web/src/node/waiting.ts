/** Waiting, which ends early when the device is asked to end, or the network is back. */

/** Wait so many seconds, or until one of the signals. */
export function pause(seconds: number, ...until: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const ended = () => {
      clearTimeout(timer);
      for (const signal of until) signal.removeEventListener("abort", ended);
      resolve();
    };
    const timer = setTimeout(ended, 1000 * seconds);
    for (const signal of until) signal.addEventListener("abort", ended);
    if (until.some((signal) => signal.aborted)) ended();
  });
}

/** Wait so many seconds, or until the signal, or until the browser says that there is a network again. */
export async function untilOnline(seconds: number, signal: AbortSignal): Promise<void> {
  const back = new AbortController(), waited = new AbortController();
  globalThis.addEventListener?.("online", () => back.abort(), { signal: waited.signal });
  await pause(seconds, signal, back.signal);
  waited.abort();
}
