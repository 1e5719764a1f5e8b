/** A client's answer to a message (`hedgerow.client.answer`). */

import { Refused } from "../secure/errors.ts";
import type { Random } from "../secure/primitives.ts";
import type { Purpose } from "../secure/messages.ts";
import { servedSize } from "../strategies/streams.ts";
import { shapeOf } from "../strategies/transforms/mask.ts";
import { PayloadError } from "../types.ts";
import type { Content } from "../wire/content.ts";
import { packIdentity, type TrainRequest, unpackTrain } from "../wire/messages.ts";
import { packReply } from "../wire/replies.ts";
import { represented } from "../wording.ts";
import { type ClientConfig, ClientRound, type LocalClient } from "./client_round.ts";
import { completed } from "./constants.ts";
import * as evaluation from "./evaluation.ts";
import { type Stage, STAGES } from "./kinds.ts";
import type { AnsweredRounds } from "./secure/answered_rounds.ts";
import { SecureClient } from "./secure/stages.ts";
import type { Summand } from "./secure/summand.ts";

/** What masked rounds need beside the client. */
export interface Masking {
  readonly answered: AnsweredRounds;
  readonly random: Random;
}

/**
 * Answer a message: the same strategy, trainer, state, samples and request give the same answer, except for the secrets
 * of masks and for noise. Throws `PayloadError` if the request is malformed, `RangeError` if the client cannot train,
 * and `Refused`.
 */
export async function respond(
  config: ClientConfig, client: LocalClient, kind: string, content: Content, masking: Masking,
): Promise<Content> {
  if (kind === "query") return await identify(client);
  if (kind === "train") return await train(config, client, content);
  if (kind === "evaluate" && client.heldOut) {
    return await evaluation.evaluated(config, client, await wholeRequest(config, client, content));
  }
  const [purpose, stage = ""] = cut(kind);
  if (!(STAGES as readonly string[]).includes(stage) || !purposes(config, client).includes(purpose as Purpose)) {
    throw new PayloadError(`the message is a ${represented(kind)}, which ${config.strategy.name} does not have`);
  }
  return await (await secured(config, client, purpose as Purpose, masking)).answer(stage as Stage, content);
}

/** The client's name. Throws `RangeError` if it has no data. */
export async function identify(client: LocalClient): Promise<Content> {
  await client.samples();
  return packIdentity(client.name);
}

async function train(config: ClientConfig, client: LocalClient, content: Content): Promise<Content> {
  const request = await wholeRequest(config, client, content);
  if (config.strategy.sumOnly) {
    throw new Refused("NotMasked", "the server asks for an update without a mask; this client's pipeline masks");
  }
  const round = new ClientRound(config, client, request);
  return packReply(await round.reply(await round.fit()), { round: request.round, client: client.name });
}

/** The request with the model's constants, from the client's copy if the request only names them. */
async function wholeRequest(config: ClientConfig, client: LocalClient, content: Content): Promise<TrainRequest> {
  const { layout } = config.layers, { streams } = config.strategy;
  const sizes = new Map(streams.map((stream): [string, number] => [stream.name, servedSize(stream, layout)]));
  return await completed(unpackTrain(content, layout, sizes), layout, client.constants);
}

/** What the strategy has summed under a mask. */
function purposes({ strategy }: ClientConfig, { heldOut }: LocalClient): readonly Purpose[] {
  if (!strategy.sumOnly) return [];
  return heldOut ? ["train", "evaluate"] : ["train"];
}

/** What a client adds that trains. */
function update(config: ClientConfig, client: LocalClient): Summand {
  const { strategy, layers: { layout } } = config;
  return {
    purpose: "train",
    shape: (clients) => shapeOf(strategy.pipeline, layout, clients, strategy.sentBeside(layout)),
    async vector(request, shape) {
      const round = new ClientRound(config, client, request);
      return await round.inRing(await round.maskedFit(), shape);
    },
    minSeparation: strategy.sampling.groups ?? 1,
  };
}

async function secured(
  config: ClientConfig, client: LocalClient, purpose: Purpose, { answered, random }: Masking,
): Promise<SecureClient> {
  if (purpose === "evaluate") evaluation.refuse(config);
  const { layout } = config.layers, { secure } = config.strategy.pipeline.protection;
  if (!client.enrolment || !secure) {
    throw new Refused("UnknownIdentity", `client '${client.name}' has no identity, which a mask needs`);
  }
  return new SecureClient({
    secure, layout, name: client.name, enrolment: await client.enrolment(), notes: client.notes, answered, random,
    summand: (purpose === "train" ? update : evaluation.summand)(config, client),
    completed: (request) => completed(request, layout, client.constants),
  });
}

/** The parts of a kind before and after its first dot. */
function cut(kind: string): [string, string?] {
  const at = kind.indexOf(".");
  return at < 0 ? [kind] : [kind.slice(0, at), kind.slice(at + 1)];
}
