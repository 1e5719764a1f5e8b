/** The content of a message: named records of arrays, settings or metrics. */

import type { Bytes } from "../types.ts";

/** Whole numbers are `bigint`, so that `1` and `1.0` stay apart, as they are in the bytes. */
export type MetricValue = bigint | number | readonly bigint[] | readonly number[];
export type ConfigValue =
  | boolean | bigint | number | string | Bytes
  | readonly boolean[] | readonly bigint[] | readonly number[] | readonly string[] | readonly Bytes[];

/** One array as it is sent; its dtype and shape are not trusted, see `arrays.ts`. */
export interface SentArray {
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The format of `data`; Hedgerow writes `"numpy.ndarray"`. */
  readonly stype: string;
  /** The array in the `.npy` format. */
  readonly data: Bytes;
}

export class ArrayRecord extends Map<string, SentArray> {}
export class MetricRecord extends Map<string, MetricValue> {}
export class ConfigRecord extends Map<string, ConfigValue> {}

export type AnyRecord = ArrayRecord | MetricRecord | ConfigRecord;

/** `{name: record}`, in the order of the bytes. */
export type Content = ReadonlyMap<string, AnyRecord>;
