/** One client evaluates a round's model on the samples that it holds out (`hedgerow.client.evaluation`). */

import { Refused } from "../secure/errors.ts";
import {
  type Measured, measuredShape, measuredVector, NOTHING, refuseClientEvaluation, refuseEvaluation,
} from "../strategies/measuring.ts";
import type { Content } from "../wire/content.ts";
import type { TrainRequest } from "../wire/messages.ts";
import { packEvaluation } from "../wire/replies.ts";
import type { ClientConfig, LocalClient } from "./client_round.ts";
import type { Summand } from "./secure/summand.ts";

/** A client that has no samples to measure models on, though others of its data have. */
export class HoldsNothingOut extends RangeError {}

/** The answer of a client that is asked what a model does on its samples. Throws `NotMasked` where that is secret. */
export async function evaluated(config: ClientConfig, client: LocalClient, request: TrainRequest): Promise<Content> {
  const why = refuseClientEvaluation(config.strategy);
  if (why) {
    throw new Refused("NotMasked", `the server asks how a model does on this client's samples; ${why}`);
  }
  const { numExamples, metrics } = await measure(config, client, request);
  return packEvaluation(numExamples, metrics, { round: request.round, client: client.name });
}

/** Throw `NotMasked` if clients must not report evaluations, not even under a mask. */
export function refuse({ strategy }: ClientConfig): void {
  const why = refuseEvaluation(strategy);
  if (why) throw new Refused("NotMasked", `the server asks how a model does on the clients' samples; ${why}`);
}

/** A model's metrics on a client's held-out samples, with the client's own layers if it has any. */
export async function measure(config: ClientConfig, client: LocalClient, request: TrainRequest): Promise<Measured> {
  if (!client.heldOut) throw new RangeError(`client '${client.name}' holds no samples out`);
  const samples = await client.heldOut(), { layers } = config;
  // What the client has of the round that made the model is before the next one.
  const state = layers.split.personal.size ? await client.rounds.load(request.round + 1) : new Map();
  const model = await layers.whole(request.model, state, request.seed);
  return { numExamples: samples.targets.length, metrics: await config.trainer.evaluate(model, samples) };
}

/** What a client adds to the sum of what a cohort measures: nothing where it holds no samples out. */
export function summand(config: ClientConfig, client: LocalClient): Summand {
  const { secure } = config.strategy.pipeline.protection;
  if (!secure) throw new Refused("NotMasked", "the strategy has no mask");
  return {
    purpose: "evaluate",
    shape: (clients) => measuredShape(secure, clients),
    async vector(request, shape) {
      try {
        return measuredVector(await measure(config, client, request), shape);
      } catch (error) {
        if (!(error instanceof HoldsNothingOut)) throw error;
        return measuredVector(NOTHING, shape); // to leave the cohort would tell that
      }
    },
    minSeparation: 1,
  };
}
