/** What every trainer does around its steps (`hedgerow.client.fitting`). */

import { generator } from "../rng.ts";
import type { LocalTraining } from "../training.ts";
import { type Fit, type Layout, type Model, type Numbers, product } from "../types.ts";
import { general, repr, tuple } from "../wording.ts";
import { Diverged, type Where } from "./trainer.ts";

const REMEDY = "give the task its own loss, such as mse_loss for numbers, or binary_cross_entropy_with_logits for"
  + " targets 0 and 1";

/** Samples with any inputs that a graph may take: characters are whole numbers. */
export interface AnySamples {
  readonly inputs: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;
  readonly targets: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>;
  /** Of one sample. */
  readonly shape: readonly number[];
  /** Of one target; by default it is one number. */
  readonly targetShape?: readonly number[];
}

/** How many samples there are. */
export function count({ targets, targetShape = [] }: AnySamples): number {
  return targets.length / product(targetShape);
}

/** numpy's name of an array's dtype. */
export function dtypeOf(values: Numbers): string {
  return values.constructor.name.replace(/^Big|Array$/g, "").toLowerCase();
}

/** The batches of each epoch, as positions of the samples: a new permutation for every epoch, up to the last step. */
export function* epochs(number: number, local: LocalTraining, where: Where): Generator<Uint32Array[]> {
  const { seed, round, client } = where;
  const shuffle = generator(seed, "shuffle", { round, client }), size = local.batchSize || number;
  for (let left = local.steps(number); left > 0; ) {
    const order = shuffle.permutation(number), batches: Uint32Array[] = [];
    for (let first = 0; first < number && batches.length < left; first += size) {
      batches.push(order.subarray(first, first + size));
    }
    left -= batches.length;
    yield batches;
  }
}

/** Refuse samples that no model can take, by a `RangeError`. */
export function checkSamples(data: AnySamples, who: string): void {
  const number = count(data), rows = data.inputs.length / product(data.shape);
  if (number === 0) throw new RangeError(`${who}: there are no samples; there must be at least one`);
  if (rows === number) return;
  throw new RangeError(`${who}: x has ${rows} rows and y has ${number}; they must have the same number`);
}

/** Refuse targets of cross entropy, judged by value, that are neither classes nor probabilities. */
export function checkProbabilities({ targets, targetShape = [] }: AnySamples, who: string): void {
  if (!(targets instanceof Float32Array) || !targetShape.length) return;
  const [classes, ...rest] = targetShape, inner = product(rest);
  let fits = targets.every((value) => !(value < 0));
  for (let k = 0; fits && k < targets.length / classes; k++) {
    const start = Math.floor(k / inner) * inner * classes + (k % inner);
    let sum = 0;
    for (let c = 0; c < classes; c++) sum += targets[start + c * inner];
    fits = Math.abs(sum - 1) <= 1e-3 + 1e-5; // numpy's `allclose`
  }
  if (fits) return;
  throw new RangeError(
    `${who}: the targets are ${dtypeOf(targets)} ${tuple(targetShape)}, which cross entropy treats as probabilities,`
      + ` which must add up to 1; ${REMEDY}`,
  );
}

/** Throw `RangeError` if a model's vectors are not those of the layout. */
export function checkModel(model: Model, layout: Layout): void {
  const sizes = { parameters: layout.dimension, buffers: layout.bufferSize, constants: layout.constantSize } as const;
  for (const what of ["parameters", "buffers", "constants"] as const) {
    const { length } = model[what];
    if (length === sizes[what]) continue;
    throw new RangeError(
      `the model's ${what} are float32 of shape (${length},); this trainer's layout has float32 of shape`
        + ` (${sizes[what]},)`,
    );
  }
}

/** An error that samples have caused, or the batch at these positions, with a description of them. */
export function unfit(why: string, who: string, data: AnySamples, index?: Uint32Array): RangeError {
  const { inputs, targets, shape, targetShape = [] } = data, size = product(targetShape);
  let least = Infinity as number | bigint, most = -Infinity as number | bigint;
  for (const k of index ?? Array.from({ length: count(data) }, (_, each) => each)) {
    for (const value of targets.subarray(k * size, (k + 1) * size)) {
      if (value < least || Number.isNaN(value)) least = value;
      if (value > most || Number.isNaN(value)) most = value;
    }
  }
  return new RangeError(
    `${who}: the model or its loss fails on samples of shape ${tuple(shape)} (${dtypeOf(inputs)}) with targets`
      + ` (${dtypeOf(targets)}) from ${repr(least)} to ${repr(most)}: ${why}`,
  );
}

/** The fit as it is. Throws `Diverged` if not all of it is finite. */
export function finite(fit: Fit, who: string, learningRate: number): Fit {
  const loss = fit.metrics.get("loss") ?? 0;
  if (Number.isFinite(loss) && fit.delta.every(Number.isFinite) && fit.buffers.every(Number.isFinite)) return fit;
  throw new Diverged(
    `${who}: training diverged (loss ${Number.isFinite(loss) ? general(loss) : repr(loss)}); the learning rate was`
      + ` ${general(learningRate)}: try a smaller one, or clip_gradient, and check that the data are finite`,
  );
}
