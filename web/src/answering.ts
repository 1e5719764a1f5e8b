/** What answers a phone's messages: its responder, made of its owner's data and rules. */

import type { Log } from "./client/discretion.ts";
import type { Policy } from "./client/policy.ts";
import { Responder } from "./client/responder.ts";
import type { MakeTrainer } from "./client/trainer.ts";
import type { OwnData } from "./data/own_data.ts";
import { DeviceGraphs } from "./node/graphs.ts";
import type { PhoneParts } from "./phone.ts";

/** What its owner gives. */
export interface Own {
  readonly data: OwnData;
  readonly trainer: MakeTrainer;
  /** As it is now. */
  readonly policy: () => Promise<Policy>;
  /** Takes what is told to nobody else. */
  readonly log?: Log;
}

/** The parts of a phone that answer by what its owner gives. */
export function answersBy({ data, trainer, policy, log }: Own): Pick<PhoneParts, "answering" | "takesModels"> {
  return {
    takesModels: async () => (await policy()).rules.models,
    answering: (device, ask) => new Responder({
      name: device.name, store: device.store, data, trainer, policy, log, party: () => device.party(),
      graphs: new DeviceGraphs(device.store, ask, log),
    }),
  };
}
