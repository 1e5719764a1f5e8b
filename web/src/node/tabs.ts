/** One tab at a time takes part for a phone, as one process does for a device. */

/** How long it waits for a lock: not at all, or until the signal. */
interface Asking {
  readonly ifAvailable?: boolean;
  readonly signal?: AbortSignal;
}

/** The part of the browser's `navigator.locks` that is needed. */
export interface Locks {
  request<V>(name: string, how: Asking, held: (lock: unknown) => V): Promise<V>;
}

/** The phone takes part in another tab. */
export class InUse extends Error {}

/** The browser's own; nothing where there is none, as in node. */
export function browserLocks(): Locks | undefined {
  return (globalThis.navigator as { locks?: Locks } | undefined)?.locks;
}

/** Do some work if no other tab does work of this name; nothing if one does. */
export async function free<V>(locks: Locks | undefined, name: string, work: () => Promise<V>): Promise<V | undefined> {
  if (!locks) return await work();
  return await locks.request(name, { ifAvailable: true }, async (lock) => (lock ? await work() : undefined));
}

/**
 * Do some work while no other tab does work of this name; where another does, `told` is called, and this waits until
 * that tab is closed, or until the signal.
 */
export async function alone(
  locks: Locks | undefined, name: string, signal: AbortSignal, told: () => void, work: () => Promise<void>,
): Promise<void> {
  const done = async () => {
    await work();
    return true;
  };
  if (await free(locks, name, done)) return;
  told();
  try {
    await locks?.request(name, { signal }, done);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
