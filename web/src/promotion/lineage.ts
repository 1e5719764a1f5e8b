/** What is known about a promoted model: its origin, and the rule by which it was accepted. */

/** The origin of a model; `hedgerow.promotion.lineage` says what the fields are. */
export interface Lineage {
  readonly recipe: string;
  readonly configuration: string;
  readonly run: string;
  readonly round: number;
  readonly clients: number;
  readonly privacy: Readonly<Record<string, number | string>>;
  readonly trust: string;
  readonly metrics: Readonly<Record<string, number>>;
  readonly hedgerow: string;
}

/** A model that was promoted. */
export interface Promotion {
  readonly number: number;
  /** ISO 8601 in UTC. */
  readonly time: string;
  /** SHA-256 of the safetensors file, 64 hex digits. */
  readonly model: string;
  /** Of that file, in bytes. */
  readonly size: number;
  readonly rule: Readonly<Record<string, unknown>>;
  readonly lineage: Lineage;
  /** Of the run as devices get it, canonical JSON. */
  readonly description: string;
}

const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/u;

/** A promotion from outside. Throws `RangeError` for anything else; what a later version adds is left alone. */
export function readPromotion(given: unknown): Promotion {
  const found = given as Promotion | null, lineage = found?.lineage;
  if (typeof found !== "object" || typeof lineage !== "object" || lineage === null) {
    throw new RangeError("it is not a promotion");
  }
  if (!isDigest(found?.model) || typeof found?.description !== "string") {
    throw new RangeError(`it is not a promotion: the model is ${String(found?.model).slice(0, 80)}`);
  }
  const texts = [found.time, lineage.recipe, lineage.run, lineage.trust, lineage.hedgerow];
  if (!texts.every((text) => typeof text === "string" && !UNPRINTABLE.test(text))) {
    throw new RangeError("it is not a promotion: its descriptions must be single lines of text");
  }
  if (![found.size, found.number, lineage.round].every((each) => Number.isSafeInteger(each) && each >= 0)) {
    throw new RangeError("it is not a promotion: size, number and round must be whole numbers");
  }
  return found;
}

/** Whether it is 64 hex digits. */
export function isDigest(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
}
