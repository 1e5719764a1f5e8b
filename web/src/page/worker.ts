/** The page's worker: the phone lives here, so that the page answers while it learns. */

import { answersBy } from "../answering.ts";
import { GraphRules } from "../client/graph_rules.ts";
import { trainersBy } from "../client/onnx/make.ts";
import { Policy } from "../client/policy.ts";
import { Entries } from "../data/entries.ts";
import { KeptData } from "../data/kept_data.ts";
import { picturePixels } from "../data/pixels.ts";
import type { Offer } from "../graphs/offer.ts";
import { Unreachable } from "../node/connection.ts";
import { DeviceGraphs } from "../node/graphs.ts";
import { IndexedStore } from "../node/indexed_store.ts";
import { Phone, type PhoneParts } from "../phone.ts";
import type { Ask } from "../promotion/delivered.ts";
import { answersSent } from "./answers_sent.ts";
import { Host } from "./host.ts";
import type { Asked, Calls, Kind, Told } from "./messages.ts";
import { OwnModel } from "./own_model.ts";
import type { Rules } from "./rules.ts";

const store = new IndexedStore(), entries = new Entries(store), trainer = trainersBy();
const data = new KeptData(entries, picturePixels, (schema) => host.asked(schema));
const policy = async () => policyOf(await host.rules());

function policyOf(rules: Rules): Policy {
  return new Policy({ ...rules, graphs: new GraphRules(rules.graphs) });
}

let ask: Ask | undefined; // of the run that goes on

const { answering, takesModels } = answersBy({ data, trainer, policy, log: (text) => host.note(text) });
const parts: PhoneParts = {
  store, takesModels,
  answering: (device, asking) => {
    ask = asking;
    return answering(device, asking);
  },
};

const host: Host = new Host({
  store,
  join: (invitation) => Phone.join(invitation, parts),
  open: () => Phone.open(parts),
  account: async () => answersSent(store, (await policy()).rules.delta),
}, (shown) => say({ shown }));

const own = new OwnModel(
  store, data, (run) => new DeviceGraphs(store, ask ?? nowhere).get(run.graphs as Offer), trainer,
  async () => (await policy()).rules.graphs,
);

/** Nothing is fetched while the phone takes no part. */
async function nowhere(): Promise<never> {
  throw new NotFetched("the graphs of this model were not fetched yet");
}

class NotFetched extends Error {}

const KINDS: readonly (readonly [new (...given: never) => Error, Kind])[] = [
  [Unreachable, "unreachable"], [NotFetched, "not fetched"],
];

const CALLS: { readonly [N in keyof Calls]: (...given: Parameters<Calls[N]>) => Promise<ReturnType<Calls[N]>> } = {
  open: () => host.open(),
  join: (invitation, rules, schema) => host.join(invitation, rules, schema),
  take: (part) => host.take(part),
  leave: (anyway) => host.leave(anyway),
  account: () => host.account(),
  ask: (sample) => own.ask(host.phone, sample),
  test: () => own.test(host.phone),
  heldOut: () => own.heldOut(host.phone),
};

addEventListener("message", ({ data: { id, call, given } }: MessageEvent<Asked>) => void answer(id, call, given));

async function answer(id: number, call: keyof Calls, given: readonly unknown[]): Promise<void> {
  try {
    say({ id, answer: await (CALLS[call] as (...given: readonly unknown[]) => Promise<unknown>)(...given) });
  } catch (error) {
    const known = KINDS.find(([kind]) => error instanceof kind)?.[1] ?? "";
    say({ id, error: (error as Error).message, kind: known });
  }
}

function say(told: Told): void {
  postMessage(told);
}
