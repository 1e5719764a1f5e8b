/** How a device answers a message: with the run's description, its policy and its data (`hedgerow.node.responder`). */

import { holdOut } from "../data/held_out.ts";
import { type OwnData, type Samples, taken } from "../data/own_data.ts";
import { keyOf, Outbox } from "../node/outbox.ts";
import { readTable, type Store, written } from "../node/store.ts";
import { type Announced, type Described, read, RECORD, understand } from "../recipe/announcement.ts";
import { DoesNotFit } from "../recipe/own_data.ts";
import { supported } from "../recipe/versions.ts";
import { systemBytes } from "../rng.ts";
import { decode } from "../secure/codec.ts";
import { Refused } from "../secure/errors.ts";
import { nameOf, SETUP } from "../secure/messages.ts";
import type { Random } from "../secure/primitives.ts";
import type { Bytes } from "../types.ts";
import { encode } from "../wire/codec.ts";
import type { Content } from "../wire/content.ts";
import { unpackStage, withoutConstants } from "../wire/messages.ts";
import { identify, respond } from "./answer.ts";
import { Changes } from "./changes.ts";
import { ClientConfig, type LocalClient } from "./client_round.ts";
import { StoredConstants } from "./constants.ts";
import { discreet, type Log, told } from "./discretion.ts";
import { HoldsNothingOut } from "./evaluation.ts";
import { Guard } from "./guard.ts";
import { OPENINGS } from "./kinds.ts";
import { type Machine, UNKNOWN_MACHINE } from "./limits.ts";
import type { Policy } from "./policy.ts";
import { AnsweredRounds } from "./secure/answered_rounds.ts";
import type { Enrolment } from "./secure/enrolment.ts";
import { ClientState, Notes, touch } from "./state.ts";
import type { GraphSource, Made, MakeTrainer } from "./trainer.ts";

const DESCRIPTIONS = "descriptions/", KNOWN = "descriptions.json";
const MOST_DESCRIPTIONS = 64;

/** What a device answers with. */
export interface Parts {
  /** The device's name in the federation. */
  readonly name: string;
  readonly store: Store;
  /** Its identity and the register as they are now, for masked rounds. */
  readonly party: () => Promise<Enrolment>;
  readonly data: OwnData;
  readonly graphs: GraphSource;
  readonly trainer: MakeTrainer;
  /** The policy as it is now. */
  readonly policy: () => Promise<Policy>;
  readonly machine?: Machine;
  /** Seconds since 1970. */
  readonly now?: () => number;
  /** Source of secrets. */
  readonly random?: Random;
  /** Takes what is not told to others. */
  readonly log?: Log;
  /** Whether noise follows from the run's seed: only for tests. */
  readonly seededNoise?: boolean;
}

/** A run on this device. */
interface LocalRun {
  readonly described: Described;
  made?: Made;
}

/** Answers messages of any run, one after another. */
export class Responder {
  readonly #parts: Parts;
  readonly #outbox: Outbox;
  readonly #now: () => number;
  readonly #log: Log;
  #run: { digest: string; local: LocalRun } | undefined; // one at a time: a trainer takes memory
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#now = parts.now ?? (() => Date.now() / 1000);
    this.#log = parts.log ?? (() => {});
    this.#outbox = new Outbox(parts.store, this.#now);
  }

  /**
   * Answer a message; returns the key of the answer, which is then kept in the outbox. Throws `PayloadError` and
   * `Refused`, with a text that may be sent, and what the network throws where graphs cannot be fetched now.
   *
   * @param kind of the message, such as `train`.
   * @param round from its envelope.
   */
  async answer(kind: string, round: string, content: Content): Promise<string> {
    const before = this.#last, found = before.then(() => this.#answer(kind, round, content));
    this.#last = found.catch(() => {});
    return await found;
  }

  async #answer(kind: string, round: string, content: Content): Promise<string> {
    if (!content.has(RECORD)) throw told("NoDescription");
    const announced = read(content), text = announced.description || await this.#description(announced.digest);
    if (text === undefined) throw told("UnknownDescription");
    const [run, guard] = await discreet(async () => await this.#begin(kind, announced, text), this.#log);
    if (kind !== "query") await this.#prepare(run, guard);
    return await discreet(async () => {
      const asked = new Map([...content].filter(([name]) => name !== RECORD));
      // A request is the same with and without the constants.
      const key = keyOf(kind, announced.run, encode(withoutConstants(asked)));
      if (kind !== "query" && await this.#outbox.answer(key)) return key;
      guard.available(kind, this.#parts.machine ?? UNKNOWN_MACHINE);
      if (OPENINGS.includes(kind)) {
        const [purpose] = kind.split(".") as ["train" | "evaluate"];
        await this.#outbox.claim(nameOf(announced.run, purpose), decode(SETUP, unpackStage(asked)).round, key);
      }
      await guard.check(kind, run.described.strategy);
      const answer = await this.#answered(kind, { run: announced.run, round }, asked, run, guard, key);
      this.#log(`answered ${kind} of round ${round}: ${answer.length} bytes`);
      return key;
    }, this.#log);
  }

  /** The run, and the guard with the policy as it is now; refuses what that forbids. */
  async #begin(kind: string, announced: Announced, text: string): Promise<[LocalRun, Guard]> {
    if (announced.version && !supported(announced.version)) throw told("OtherVersion");
    if (announced.description) await this.#learn(announced.digest, text);
    if (this.#run?.digest !== announced.digest) {
      this.#run = { digest: announced.digest, local: { described: understand(text) } };
    }
    const { local } = this.#run, policy = await this.#parts.policy();
    check(policy, kind, local.described);
    return [local, new Guard(policy, this.#parts.store, this.#now)];
  }

  /** Answer, and keep at once the answer, what it has revealed, and what the client needs later. */
  async #answered(
    kind: string, about: { run: string; round: string }, asked: Content, run: LocalRun, guard: Guard, key: string,
  ): Promise<Bytes> {
    const { store } = this.#parts, changes = new Changes(store), { strategy } = run.described;
    try {
      await touch(changes, about.run);
      const answer = encode(await this.#responded(kind, asked, run, this.#client(changes, about.run, run), changes));
      await guard.record(changes, kind, strategy, about, answer.length);
      await this.#outbox.keep(key, answer, changes.all);
      return answer;
    } catch (error) {
      // What was begun counts, although nothing of it is sent: a stage is answered once.
      await guard.failed(changes, kind, about, error);
      await store.put(changes.all);
      throw error;
    }
  }

  async #responded(
    kind: string, content: Content, run: LocalRun, client: LocalClient, changes: Store,
  ): Promise<Content> {
    if (kind === "query" || !run.made) return await identify(client);
    const { random = systemBytes, seededNoise } = this.#parts, { trainer, start: initial } = run.made;
    let config;
    try {
      config = new ClientConfig(run.described.strategy, trainer, { initial, seededNoise });
    } catch (error) {
      throw new Refused("CannotTrain", (error as Error).message);
    }
    return await respond(config, client, kind, content, { answered: new AnsweredRounds(changes, random), random });
  }

  /** Make a run's trainer, and fetch the graphs that it needs. */
  async #prepare(run: LocalRun, guard: Guard): Promise<void> {
    const { graphs: offer, strategy, layout } = run.described, { graphs, trainer } = this.#parts;
    if (!offer) throw told("NoTrainer");
    await discreet(async () => guard.checkOffer(offer, strategy), this.#log); // the policy may have changed since
    if (run.made) return;
    let data: Bytes;
    try {
      data = await graphs.get(offer); // outside: what the network does is no answer
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return await discreet(async () => Promise.reject(error), this.#log);
    }
    await discreet(async () => {
      const made = await trainer(run.described, data, guard.policy.rules.graphs.megabytes * 2 ** 20);
      if (made.trainer.layout.fingerprint !== layout) {
        throw new Refused("OtherModel", `the layout is ${made.trainer.layout.fingerprint}, the server's ${layout}`);
      }
      run.made = made;
    }, this.#log);
  }

  #client(changes: Store, name: string, run: LocalRun): LocalClient {
    return {
      name: this.#parts.name,
      samples: async () => (await this.#split(run))[0],
      rounds: new ClientState(changes, name),
      notes: new Notes(changes, name),
      constants: new StoredConstants(changes),
      enrolment: this.#parts.party,
      heldOut: async () => {
        const [, held] = await this.#split(run);
        if (!held) throw new RangeError("the run holds no samples out");
        if (!held.targets.length) throw new HoldsNothingOut(`client '${this.#parts.name}' holds no samples out`);
        return held;
      },
    };
  }

  /** The samples to train on, and those held out, if the run holds some out. */
  async #split({ described }: LocalRun): Promise<[Samples, Samples?]> {
    const { schema, heldOut: fraction, heldOutBy: by, seed } = described;
    if (!schema) throw new RangeError("the run is for another data set");
    let all: Samples;
    try {
      all = await this.#parts.data.samples(schema);
    } catch (error) {
      if (!(error instanceof DoesNotFit)) throw error;
      throw new Refused("DataDoNotFit", error.message);
    }
    if (fraction === undefined) return [all];
    const [trained, held] = holdOut(all, { fraction, by, client: this.#parts.name, seed });
    return [taken(all, trained), taken(all, held)];
  }

  /** A description that was sent before. */
  async #description(digest: string): Promise<string | undefined> {
    const found = await this.#parts.store.get(DESCRIPTIONS + digest);
    return found && new TextDecoder().decode(found);
  }

  async #learn(digest: string, text: string): Promise<void> {
    const { store } = this.#parts, before = ((await readTable(store, KNOWN))?.digests ?? []) as string[];
    if (before[0] === digest) return;
    const digests = [digest, ...before.filter((each) => each !== digest)];
    const old = digests.slice(MOST_DESCRIPTIONS).map((each): [string, undefined] => [DESCRIPTIONS + each, undefined]);
    await store.put(new Map<string, Bytes | undefined>([
      ...old, [DESCRIPTIONS + digest, Uint8Array.from(new TextEncoder().encode(text))],
      [KNOWN, written({ digests: digests.slice(0, MOST_DESCRIPTIONS) })],
    ]));
  }
}

/** Refuse what the policy forbids, before any data is loaded and any graph fetched. */
function check(policy: Policy, kind: string, run: Described): void {
  policy.check(kind, run.strategy);
  if (policy.rules.recipes !== null) {
    throw new Refused(
      "AgainstPolicy",
      "rule recipes: the device accepts only listed recipes, and this run names none; list the strategy's hash under"
        + " strategies",
    );
  }
  if (!run.schema) {
    throw new Refused("AgainstPolicy", "rule data: the run is for a data set other than the device's own");
  }
  if (!run.graphs) throw told("NoTrainer");
}
