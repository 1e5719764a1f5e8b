/** What the page and its worker, in which the phone lives, say to each other. */

import type { PhoneEvent } from "../phone.ts";
import type { Invitation } from "./invitation.ts";
import type { Test } from "./own_model.ts";
import type { Rules } from "./rules.ts";

/** A round in which this phone has learned. */
export interface RoundLine {
  readonly run: string;
  readonly round: number;
  readonly loss?: number;
  readonly accuracy?: number;
}

/** An answer that has left this phone. */
export interface Left {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly kind: string;
  readonly bytes: number;
}

/** What the phone is and has done, as the page shows it. */
export interface Shown {
  /** Nothing before it has joined. */
  readonly phone?: { readonly name: string; readonly address: string };
  readonly rules?: Rules;
  /** Whether its owner wants it to take part. */
  readonly taking: boolean;
  readonly state: (PhoneEvent & { kind: "state" })["state"] | "paused";
  readonly sentence: string;
  /** What the phone has noted last, and tells nobody else: such as why it could not answer. */
  readonly note: string;
  /** The newest last. */
  readonly rounds: readonly RoundLine[];
  readonly up: number;
  readonly down: number;
  /** Hash of the promoted model. */
  readonly model?: string;
  /** The last schema that a run has asked for, as its description has it. */
  readonly schema?: Readonly<Record<string, unknown>>;
  /** Another tab has the phone. */
  readonly elsewhere: boolean;
  /** The browser has erased what was kept. */
  readonly gone: boolean;
}

/** A phone that has not joined. */
export const NOTHING: Shown = {
  taking: false, state: "paused", sentence: "", note: "", rounds: [], up: 0, down: 0, elsewhere: false, gone: false,
};

/** What the phone's answers have told, by its own account. */
export interface Account {
  readonly answers: number;
  readonly epsilon?: number;
  /** The newest first. */
  readonly left: readonly Left[];
}

/** The calls of the worker; each answer is a promise on the page's side. */
export interface Calls {
  open(): Shown;
  /** `schema` is what the coordinator says of its run's data, until a run asks for some. */
  join(invitation: Invitation, rules: Rules, schema?: Shown["schema"]): Shown;
  /** Take part; `false` pauses. */
  take(part: boolean): void;
  /** Erases everything; unless `anyway`, only once the coordinator has been told. */
  leave(anyway: boolean): void;
  account(): Account;
  /** What the promoted model says of one sample, `(size) float32`: a probability for each class, or a number. */
  ask(sample: Float32Array): readonly number[];
  /** The promoted model on the test part; nothing if the run holds nothing out. */
  test(): Test | undefined;
  /** Of all samples by the last schema, how many are held out; nothing before a run has said how. */
  heldOut(): Test | undefined;
}

/** Errors that the page has words for. */
export type Kind = "" | "unreachable" | "not fetched";

export type Asked = { [N in keyof Calls]: { id: number; call: N; given: Parameters<Calls[N]> } }[keyof Calls];

export type Told =
  | { readonly id: number; readonly answer: unknown }
  | { readonly id: number; readonly error: string; readonly kind: Kind }
  | { readonly shown: Shown };
