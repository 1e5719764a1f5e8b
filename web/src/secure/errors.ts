/** Why a client refuses to answer; `hedgerow.secure.errors` and `hedgerow.node.errors` tell what each means. */

export type Why =
  | "Malformed" | "OutOfOrder" | "StaleRound" | "WrongPurpose" | "WrongModel" | "WrongShape" | "DuplicateMember"
  | "NotAMember" | "CohortTooSmall" | "TooFewNeighbours" | "ThresholdTooLow" | "SurvivorFloorTooLow"
  | "UnknownIdentity" | "WrongIdentity" | "BadSignature" | "KeysChanged" | "AliveAndDead" | "TooFewSurvivors"
  | "Isolated" | "SplitView" | "BadShare" | "LacksConstants" | "AlreadyAnswered" | "AskedTooOften" | "NotMasked"
  | "LostState" | "NotAvailable" | "AgainstPolicy" | "ClientFailed" | "UnknownDescription" | "NoDescription"
  | "OtherVersion" | "OtherModel" | "NoTrainer" | "NoGraphs" | "CannotTrain" | "DataDoNotFit";

/** A refusal; the server is told `WHY: message`. */
export class Refused extends Error {
  /** Kept apart from the class's name, which a build may shorten. */
  readonly why: Why;

  constructor(why: Why, message: string) {
    super(message);
    this.why = why;
  }
}
