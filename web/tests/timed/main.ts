/** A page whose worker's steps are timed: `asked(call, given)` is the milliseconds that the worker took. */

const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });

function asked(call: string, given = ""): Promise<number> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data: { took, error } }) => (error ? reject(new Error(error)) : resolve(took));
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage([call, given]);
  });
}

Object.assign(globalThis, { asked });
