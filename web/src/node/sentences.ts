/** What a phone says of itself, one sentence each: all of it is here, so that it can be said in other languages. */

export const SENTENCES = {
  joining: () => "Joining the federation.",
  waiting: (name: string) => `${name} is connected and waits for the next round.`,
  training: (round: string) => `Training for round ${round || "-"}, on this phone.`,
  sending: (round: string) => `Sending the answer to round ${round || "-"}.`,
  offline: (why: string) => `The coordinator cannot be reached; trying again: ${why}`,
  revoked: () => "This phone was taken out of the federation by its coordinator: leave, and join with a new code.",
  clock: (much: string) => `This phone's clock is ${much} the coordinator's: set it to the network's time.`,
  before: (date: string) => `This phone's clock shows ${date}, before the day on which it joined: set it.`,
  denied: (why: string) => `The coordinator does not take this phone's calls: ${why}`,
  refused: (why: string) => `This phone does not take part in that round: ${why}`,
  version: () =>
    "This page is of another version than the coordinator: close all of its tabs, and open it again by the code.",
  full: (why: string) => `This phone cannot keep what it would send, so it sends nothing: ${why}`,
  failed: (why: string) => `This phone could not answer, and tries again: ${why}`,
  second: () => "This phone takes part in another tab already; this one goes on when that is closed.",
  left: () => "This phone has left; its keys and everything it kept are erased.",
  cleared: () => "This browser has removed what this phone kept; join again by the code.",
  models: () => "By this phone's policy, it takes no promoted models.",
  rejected: (why: string) => `The promoted model is rejected: ${why}`,
} as const;
