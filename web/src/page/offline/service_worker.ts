/** Keeps one build of the page on the device, whole, so that it opens without a network; served beside the page. */

/** What a service worker has that a page has not, as far as it is used here. */
interface Scope {
  readonly clients: { claim(): Promise<void> };
  readonly registration: { readonly scope: string };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate" | "fetch", heard: (event: Work) => void): void;
  addEventListener(type: "message", heard: (event: MessageEvent) => void): void;
}
interface Work {
  readonly request: Request;
  respondWith(answer: Promise<Response>): void;
  waitUntil(done: Promise<unknown>): void;
}

/** Names of the build's files, and their SHA-256. */
interface Build {
  readonly version: string;
  readonly files: Readonly<Record<string, string>>;
}

const scope = self as unknown as Scope;
const BUILD = "HEDGEROW-FILES" as unknown as Build; // the build writes it here
const PREFIX = "hedgerow-page-", PAGE = "index.html", LIST = "build.json";
const HASHED = "assets/"; // what lies there has its hash in its name, so that it never changes

scope.addEventListener("install", (event) => event.waitUntil(keep()));
scope.addEventListener("activate", (event) => event.waitUntil(begin()));
scope.addEventListener("message", ({ data }) => void (data === "take over" && scope.skipWaiting()));
scope.addEventListener("fetch", (event) => {
  const name = keptName(event.request);
  if (name !== undefined) event.respondWith(given(name, event.request));
});

/** Fetch all files of this build; a file of another build is refused, and with it the whole. */
async function keep(): Promise<void> {
  const cache = await caches.open(PREFIX + BUILD.version);
  const kept = Object.entries(BUILD.files).map(async ([name, hash]) => {
    const answer = await fetch(addressOf(name), {
      integrity: `sha256-${base64(hash)}`, cache: name.startsWith(HASHED) ? "default" : "no-cache",
    });
    if (!answer.ok) throw new TypeError(`${name}: ${answer.status}`);
    await cache.put(addressOf(name), answer);
  });
  await Promise.all([...kept, keepList(cache)]);
}

/** The list has the build's hash, which the page shows, and one file more than this script knows: this script. */
async function keepList(cache: Cache): Promise<void> {
  const answer = await fetch(addressOf(LIST), { cache: "no-cache" });
  const { files } = await answer.clone().json() as Build;
  for (const [name, hash] of Object.entries(BUILD.files)) {
    if (files[name] !== hash) throw new TypeError(`${LIST} is of another build`);
  }
  await cache.put(addressOf(LIST), answer);
}

async function begin(): Promise<void> {
  const names = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== PREFIX + BUILD.version);
  await Promise.all(names.map((name) => caches.delete(name)));
  await scope.clients.claim();
}

/** The file that a request is for, if it is one that is kept. */
function keptName(request: Request): string | undefined {
  const { origin, pathname } = new URL(request.url), base = new URL(scope.registration.scope);
  if (request.method !== "GET" || origin !== base.origin || !pathname.startsWith(base.pathname)) return undefined;
  const name = pathname.slice(base.pathname.length) || PAGE;
  return name === LIST || name in BUILD.files ? name : undefined;
}

/** From what is kept; where the browser has cleared that, from the server. */
async function given(name: string, request: Request): Promise<Response> {
  const cache = await caches.open(PREFIX + BUILD.version);
  return await cache.match(addressOf(name)) ?? fetch(request);
}

function addressOf(name: string): string {
  return new URL(name, scope.registration.scope).href;
}

function base64(hex: string): string {
  return btoa(String.fromCharCode(...(hex.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16))));
}
