/** What a client adds to a masked sum: an update of a model, or what it measures of one. */

import type { RingVector, Shape } from "../../ring/vector.ts";
import type { Purpose } from "../../secure/messages.ts";
import type { TrainRequest } from "../../wire/messages.ts";

/** One purpose of the masked stages. */
export interface Summand {
  readonly purpose: Purpose;
  /** Of the vector, from the size of the cohort: the client's own, whatever a server says. */
  readonly shape: (clients: number) => Shape;
  readonly vector: (request: TrainRequest, shape: Shape) => Promise<RingVector>;
  /** Rounds from one of the client's to the next, at least. */
  readonly minSeparation: number;
}
