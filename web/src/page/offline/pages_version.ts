/** The service worker from the page's side: that one is there, and that a newer page waits. */

export interface Build {
  /** SHA-256 over the list of all files, 64 hex digits. */
  readonly hash: string;
}

const HOUR = 3_600_000;

/** The build of which this page is; nothing where it cannot be had. */
export async function build(): Promise<Build | undefined> {
  try {
    const answer = await fetch("./build.json");
    return answer.ok ? await answer.json() as Build : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Keep the page on the device; `newer` is called when a newer one lies ready. Resolves when the page opens without a
 * network, or when it is clear that this browser or this address does not allow that.
 */
export async function keptOffline(newer: (load: () => void) => void): Promise<boolean> {
  if (!("serviceWorker" in navigator) || !isSecureContext) return false;
  try {
    const first = navigator.serviceWorker.controller === null;
    const registration = await navigator.serviceWorker.register("./sw.js");
    watch(registration, newer);
    setInterval(() => void registration.update().catch(() => undefined), HOUR);
    if (first) await taken(registration);
    return true;
  } catch {
    return false; // such as a browser whose owner keeps nothing of a site
  }
}

function watch(registration: ServiceWorkerRegistration, newer: (load: () => void) => void): void {
  const look = () => {
    const waiting = registration.waiting;
    if (!waiting || !navigator.serviceWorker.controller) return;
    newer(() => {
      navigator.serviceWorker.addEventListener("controllerchange", () => location.reload(), { once: true });
      waiting.postMessage("take over");
    });
  };
  registration.addEventListener("updatefound", () => registration.installing?.addEventListener("statechange", look));
  look();
}

/** Wait until the worker serves this page; not for ever, because it may have failed to fetch a file. */
async function taken(registration: ServiceWorkerRegistration): Promise<void> {
  const coming = registration.installing ?? registration.waiting;
  await new Promise<void>((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
    coming?.addEventListener("statechange", () => void (coming.state === "redundant" && resolve()));
    if (navigator.serviceWorker.controller || !coming) resolve();
  });
}

/** Look now whether there is a newer page. */
export async function lookForNewer(): Promise<void> {
  const registration = await navigator.serviceWorker?.getRegistration();
  await registration?.update().catch(() => undefined);
}
