/** A graph in ONNX Runtime: WebAssembly, one thread, in a browser and in node alike. */

import * as ort from "onnxruntime-web/wasm";
import { BadGraphs } from "../../graphs/errors.ts";
import type { Dtype, Port, Ports, Signature } from "../../graphs/signature.ts";
import { same } from "../../graphs/values.ts";
import { type Bytes, product } from "../../types.ts";

/** The values of a tensor: truths are zeros and ones. */
export type Values = Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | BigInt64Array<ArrayBuffer> | Bytes;

/** Tensors by name. */
export type Tensors = ReadonlyMap<string, Values>;

/** One graph, loaded. */
export interface Session {
  /** Run the graph once; what it is given stays as it is, and results are new. */
  run(given: Tensors): Promise<Map<string, Values>>;
  /** Free what it takes; it cannot run afterwards. */
  release(): Promise<void>;
}

/** Loads a graph. Throws `BadGraphs` if the runtime cannot, or the graph takes or gives other tensors than it must. */
export type Open = (content: Bytes, signature: Signature) => Promise<Session>;

ort.env.wasm.numThreads = 1; // more need a page that is isolated from others, and may give other bits
ort.env.logLevel = "fatal"; // what it says is in its errors, too

const OPTIONS: ort.InferenceSession.SessionOptions = {
  executionProviders: ["wasm"],
  logSeverityLevel: 4,
  // What a run has taken is free for the other graph's; the page's memory never shrinks.
  enableCpuMemArena: false,
  enableMemPattern: false,
};

export const open: Open = async (content, signature) => {
  let session: ort.InferenceSession;
  try {
    session = await alone(() => ort.InferenceSession.create(content, OPTIONS));
  } catch (error) {
    throw new BadGraphs(`ONNX Runtime cannot load the graph: ${firstLine(error)}`);
  }
  const { inputMetadata, outputMetadata } = session;
  if (!agrees(inputMetadata, signature.inputs) || !agrees(outputMetadata, signature.outputs)) {
    await alone(() => session.release());
    const names = (agrees(inputMetadata, signature.inputs) ? outputMetadata : inputMetadata).map(({ name }) => name);
    throw new BadGraphs(
      `the graph takes or gives other tensors than its manifest says: it has ${names.join(", ")}; export it again`,
    );
  }
  return new Loaded(session, signature);
};

let before: Promise<unknown> = Promise.resolve();

/** One call of the runtime after another: two that wait at the same time would overwrite each other's stack. */
function alone<T>(call: () => Promise<T>): Promise<T> {
  const done = before.then(call);
  before = done.catch(() => {});
  return done;
}

/** The first line of an error's text; the runtime's errors have no class in common. */
export function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0];
}

/** Zeros for what goes in or comes out. */
export function zeros({ shape, dtype }: Port): Values {
  return new KINDS[dtype](product(shape));
}

const KINDS = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, bool: Uint8Array } as const;

class Loaded implements Session {
  readonly #session: ort.InferenceSession;
  readonly #signature: Signature;

  constructor(session: ort.InferenceSession, signature: Signature) {
    this.#session = session;
    this.#signature = signature;
  }

  async run(given: Tensors): Promise<Map<string, Values>> {
    const feeds: Record<string, ort.Tensor> = {};
    for (const [name, { dtype, shape }] of this.#signature.inputs) {
      feeds[name] = tensor(dtype, given.get(name) as Values, shape);
    }
    const found = await alone(() => this.#session.run(feeds));
    return new Map([...this.#signature.outputs.keys()].map((name) => [name, found[name].data as Values]));
  }

  release(): Promise<void> {
    return alone(() => this.#session.release());
  }
}

function tensor(dtype: Dtype, values: Values, shape: readonly number[]): ort.Tensor {
  return new ort.Tensor(dtype as "float32", values as Float32Array, shape);
}

function agrees(found: readonly ort.InferenceSession.ValueMetadata[], told: Ports): boolean {
  const ports = [...told];
  return found.length === ports.length && found.every((each, k) => {
    const [name, { dtype, shape }] = ports[k];
    return each.isTensor && each.name === name && each.type === dtype && same(each.shape as number[], shape);
  });
}
