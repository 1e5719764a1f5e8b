/** Waiting, which ends early when the device is asked to end. */

/** Wait so many seconds, or until the signal. */
export function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const ended = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", ended);
      resolve();
    };
    const timer = setTimeout(ended, 1000 * seconds);
    signal?.addEventListener("abort", ended);
  });
}
