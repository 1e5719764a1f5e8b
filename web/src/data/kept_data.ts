/** The device's own data, from what its owner has drawn, sensed and picked. */

import { DoesNotFit, type OwnSchema } from "../recipe/own_data.ts";
import type { Entries, Kept } from "./entries.ts";
import { isLegible } from "../legible.ts";
import { fitted, type Fitted, kindsFor, type Pixels } from "./fitted.ts";
import type { OwnData, Samples } from "./own_data.ts";
import { Unfit } from "./unfit.ts";

/** Samples of all entries of the kinds that a run can use; the others wait for another run. */
export class KeptData implements OwnData {
  readonly #entries: Entries;
  readonly #pixels: Pixels;
  readonly #asked: (schema: OwnSchema) => void;
  #last: { of: string; samples: Samples } | undefined;

  /** `asked` is told of every schema that a run has asked for. */
  constructor(entries: Entries, pixels: Pixels, asked: (schema: OwnSchema) => void = () => {}) {
    this.#entries = entries;
    this.#pixels = pixels;
    this.#asked = asked;
  }

  /** Throws `DoesNotFit`, with a text that tells nothing of the data: what is wrong with them only the page says. */
  async samples(schema: OwnSchema): Promise<Samples> {
    if (!isLegible(schema)) throw new DoesNotFit("the run's schema is more than a page can show or hold");
    this.#asked(schema);
    const of = JSON.stringify([schema, await this.#entries.keys()]);
    if (this.#last?.of !== of) this.#last = { of, samples: await this.#read(schema) };
    return this.#last.samples;
  }

  async #read(schema: OwnSchema): Promise<Samples> {
    const kinds = kindsFor(schema);
    const usable = (await this.#entries.all()).filter((entry) => kinds.includes(entry.kind));
    if (!usable.length) throw new DoesNotFit("there are no data that this run could use");
    const parts: Fitted[] = [];
    for (const entry of usable) parts.push(await this.#fitted(entry, schema));
    return together(parts, schema);
  }

  async #fitted(entry: Kept, schema: OwnSchema): Promise<Fitted> {
    try {
      return await fitted(entry, schema, this.#pixels);
    } catch (error) {
      throw error instanceof Unfit ? new DoesNotFit("the data do not fit the run's schema") : error;
    }
  }
}

function together(parts: readonly Fitted[], schema: OwnSchema): Samples {
  const targets = parts.flatMap((part) => part.targets);
  const inputs = new Float32Array(targets.length * schema.size);
  let at = 0;
  for (const part of parts) {
    inputs.set(part.inputs, at);
    at += part.inputs.length;
  }
  return {
    inputs,
    targets: schema.classes.length ? BigInt64Array.from(targets, BigInt) : Float32Array.from(targets),
    shape: schema.inputShape,
  };
}
