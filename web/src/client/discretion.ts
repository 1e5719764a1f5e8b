/** What a device's errors tell others: a code and a fixed sentence (`hedgerow.client.discretion`). */

import { Refused, type Why } from "../secure/errors.ts";

/** The sentence of each refusal, the same for all devices and data; tests hold them to Python's. */
export const SENTENCES: Readonly<Record<Exclude<Why, "AgainstPolicy">, string>> = {
  Malformed: "Bytes that are not the expected message.",
  OutOfOrder: "A stage that is not the next one.",
  AlreadyAnswered: "A round, or a stage of it, that was answered before.",
  StaleRound: "A message for another run, round, model or set of keys.",
  WrongPurpose: "A stage of an evaluation in a round of training, or the other way round.",
  AskedTooOften: "A round sooner after the client's last one than the strategy promises.",
  NotMasked: "A request to send an update in the clear.",
  WrongModel: "A model other than the one announced for the round.",
  WrongShape: "A ring, length or number of words that differs from this client's pipeline.",
  DuplicateMember: "A name that occurs twice in a list.",
  NotAMember: "A name that is missing from a list, or does not belong there.",
  CohortTooSmall: "Fewer clients than this client requires.",
  TooFewNeighbours: "Another number of neighbours than this client requires.",
  ThresholdTooLow: "A lower threshold than this client requires.",
  SurvivorFloorTooLow: "A lower minimum of survivors than this client requires.",
  UnknownIdentity: "A client that is not enrolled.",
  WrongIdentity: "A client whose key is not the one it enrolled with.",
  BadSignature: "A signature that is not valid for this message of this round.",
  KeysChanged: "Keys that their owner did not send, or that two clients share.",
  AliveAndDead: "A client listed as both alive and dead.",
  TooFewSurvivors: "Fewer survivors, or signatures of survivors, than required.",
  Isolated: "Too few of a client's own neighbours remain.",
  SplitView: "A list of survivors other than the one that was signed.",
  BadShare: "A share that does not match its commitment, or is for another client.",
  LacksConstants: "This device does not have the model's constants; it has to be sent them.",
  LostState: "The client's state of its last round cannot be read; it will continue from the one before.",
  NotAvailable: "The device takes no new work now.",
  ClientFailed: "This client could not answer; why is in its own log.",
  UnknownDescription: "The device does not know this run's description.",
  NoDescription: "The message does not say which run it belongs to: its server has no Hedgerow, or an older one.",
  OtherVersion: "The server's Hedgerow is more than one minor version from this device's: install the server's.",
  OtherModel: "The device builds another model from the run's description than the server: install its versions.",
  NoTrainer: "The run's trainer is not installed on this device, and no graphs to train by are offered to it.",
  NoGraphs: "The graphs of the run cannot be had from the coordinator; this device's log says why.",
  CannotTrain: "The device's trainer does not support what the run's strategy needs; its log says what is missing.",
  DataDoNotFit: "The device's own data does not fit the run's schema; its log says where.",
};

/** Takes what a device does not tell others: for its owner's eyes. */
export type Log = (text: string) => void;

/** A refusal by its code and sentence. */
export function told(why: keyof typeof SENTENCES): Refused {
  return new Refused(why, SENTENCES[why]);
}

/**
 * Replace an error by its code and a sentence that is the same for all devices and data. A refusal by the device's
 * policy still names the rule; where the browser cannot keep anything more, nothing is told.
 */
export async function discreet<T>(work: () => Promise<T>, log: Log): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DOMException && error.name === "QuotaExceededError") throw error;
    if (error instanceof Refused && error.why === "AgainstPolicy") {
      log(`refused: ${error.message}`);
      throw error;
    }
    const why = error instanceof Refused ? error.why as keyof typeof SENTENCES : "ClientFailed";
    log(`this client did not answer: ${why}: ${error instanceof Error ? error.message : String(error)}`);
    throw told(why);
  }
}
