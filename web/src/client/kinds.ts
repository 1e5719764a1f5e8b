/** The kinds of messages that a client answers, by what their answers tell (`hedgerow.client.kinds`). */

/** Actions of `train` and `evaluate` messages in a round of secure aggregation, in order. */
export const STAGES = ["keys", "shares", "masked", "survivors", "unmask", "failed"] as const;
export type Stage = (typeof STAGES)[number];

/** Messages with which such a round begins. */
export const OPENINGS: readonly string[] = ["train.keys", "evaluate.keys"];

/** Messages whose answers tell something of a device's data. */
export const UPDATES: readonly string[] = ["train", "train.masked", "evaluate", "evaluate.masked"];

/** Messages whose answers tell no more than the device's name, whatever the strategy. */
export const NAMES: readonly string[] = ["query", "train.failed", "evaluate.failed"];

/** Messages whose answers are sent in the clear. */
export const IN_THE_CLEAR: readonly string[] = ["train", "evaluate"];

/** Messages that ask for new work; the other stages of a masked round finish what one of these began. */
export const BEGINNINGS: readonly string[] = [...IN_THE_CLEAR, ...OPENINGS];

/** All kinds of messages but queries. */
export const KNOWN: readonly string[] = [
  ...IN_THE_CLEAR, ...IN_THE_CLEAR.flatMap((kind) => STAGES.map((stage) => `${kind}.${stage}`)),
];
