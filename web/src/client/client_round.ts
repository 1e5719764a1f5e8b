/** One client's round: its inputs, what it sends and what it keeps (`hedgerow.client.client_round`). */

import type { Samples } from "../data/own_data.ts";
import type { RingVector, Shape } from "../ring/vector.ts";
import { encode } from "../strategies/pipeline/coding.ts";
import { NO_STATE } from "../strategies/pipeline/transform.ts";
import type { Strategy } from "../strategies/strategy.ts";
import { toRing } from "../strategies/transforms/mask.ts";
import type { Arrays, Fit, Model, Payload, RoundContext, Vector } from "../types.ts";
import type { TrainRequest } from "../wire/messages.ts";
import type { Reply } from "../wire/replies.ts";
import { require } from "./capabilities.ts";
import type { KeptConstants } from "./constants.ts";
import { CLOCK, type Clock, PACE, Pace } from "./pace.ts";
import { PersonalLayers } from "./personal.ts";
import type { Enrolment } from "./secure/enrolment.ts";
import type { ClientState, Notes, State } from "./state.ts";
import { Diverged, type Trainer } from "./trainer.ts";

const NONE: Vector = new Float32Array(0);

/** The parts of a client's state that belong to its pipeline, such as a residual, and to its trainer. */
const PIPELINE = "pipeline", TRAINER = "trainer";

/** Choices that only tests make. */
export interface Choices {
  /** The model from which personal layers start. */
  readonly initial?: Model;
  /** Whether noise follows from the run's seed, as in a simulation. */
  readonly seededNoise?: boolean;
  readonly clock?: Clock;
}

/** What a client does in every round. Throws `RangeError` if the trainer does not support what the strategy needs. */
export class ClientConfig {
  readonly strategy: Strategy;
  readonly trainer: Trainer;
  readonly layers: PersonalLayers;
  readonly seededNoise: boolean;
  readonly clock: Clock;

  constructor(strategy: Strategy, trainer: Trainer, { initial, seededNoise = false, clock = CLOCK }: Choices = {}) {
    require(trainer, strategy);
    this.strategy = strategy;
    this.trainer = trainer;
    this.layers = new PersonalLayers(trainer, strategy, initial);
    this.seededNoise = seededNoise;
    this.clock = clock;
  }

  /** Whether the trainer keeps client state from round to round. */
  get keepsTraining(): boolean {
    return this.trainer.supports.has("state");
  }

  /** Whether clients must hide failures, because they add noise that would not hide a missing update. */
  get hidesFailures(): boolean {
    return (this.strategy.pipeline.protection.noise?.minHonest ?? 0) > 0;
  }
}

/** One client: who it is, what it has, and where it keeps what it needs later. */
export interface LocalClient {
  readonly name: string;
  readonly samples: () => Promise<Samples>;
  readonly rounds: ClientState;
  readonly notes: Notes;
  readonly constants: KeptConstants;
  /** Its identity; only for a strategy that masks. */
  readonly enrolment?: () => Promise<Enrolment>;
  /** The samples on which it evaluates models; none of it if it evaluates none. */
  readonly heldOut?: () => Promise<Samples>;
}

/** What a client sends of a round: the encoded delta, the part of the fit that is sent, and each stream's values. */
interface Encoded {
  readonly payload: Payload;
  readonly shared: Fit;
  readonly sent: ReadonlyMap<string, Vector>;
}

/** One client in one round. */
export class ClientRound {
  readonly #config: ClientConfig;
  readonly #here: LocalClient;
  readonly #request: TrainRequest;
  #read: Promise<State> | undefined;
  #paced: Pace | undefined;

  constructor(config: ClientConfig, here: LocalClient, request: TrainRequest) {
    this.#config = config;
    this.#here = here;
    this.#request = request;
  }

  /** Train, with the gradients corrected if a stream does. Throws `RangeError` if the trainer cannot. */
  async fit(): Promise<Fit> {
    const { strategy, trainer, layers, keepsTraining } = this.#config, { seed, round } = this.#request;
    const samples = clientSamples(this.#here.name, await this.#here.samples()), correction = await this.#correction();
    const options = {
      ...(correction ? { correction } : {}),
      ...(keepsTraining ? { state: (await this.#before()).get(TRAINER) ?? NO_STATE } : {}),
    };
    const state: State = layers.split.personal.size ? await this.#before() : new Map();
    const model = await layers.whole(this.#request.model, state, seed);
    const where = { seed, round, client: this.#here.name };
    const train = (most: number) => trainer.fit(model, samples, strategy.local.atMost(most), where, options);
    if (!strategy.local.timeBudget) return await train(0);
    return await (await this.#pace()).trained(samples.targets.length, train);
  }

  /**
   * The fit to be masked. If clients add noise, a result that is not finite counts as zero change: whoever chooses the
   * model can make it diverge on samples of its choice, and no noise would hide that a client has failed.
   */
  async maskedFit(): Promise<Fit> {
    if (!this.#config.hidesFailures) return await this.fit();
    try {
      const fit = await this.fit();
      if (fit.delta.every(Number.isFinite)) return fit;
    } catch (error) {
      if (!(error instanceof Diverged)) throw error;
    }
    const delta = new Float32Array(this.#config.trainer.layout.dimension);
    return { delta, buffers: NONE, numExamples: 1, metrics: new Map() };
  }

  /** The reply for a fit; keeps the client's state. */
  async reply(fit: Fit): Promise<Reply> {
    const { payload, sent } = await this.#encode(fit);
    return { payload, streams: sent, numExamples: fit.numExamples, metrics: fit.metrics };
  }

  /** The vector to be masked for a fit, in the cohort's ring; keeps the client's state. */
  async inRing(fit: Fit, shape: Shape): Promise<RingVector> {
    const { payload, shared, sent } = await this.#encode(fit), { streams, pipeline } = this.#config.strategy;
    const beside = streams.flatMap(({ name }) => [...(sent.get(name) ?? [])]);
    return toRing(payload, shared, shape, pipeline, Float32Array.from(beside));
  }

  /** What is added to every step's gradient, if a stream corrects them. */
  async #correction(): Promise<Vector | undefined> {
    const { strategy, layers } = this.#config;
    let sum: Vector | undefined;
    for (const { name, correction } of strategy.streams) {
      if (!correction) continue;
      const before = {
        server: this.#request.streams.get(name) ?? NONE, state: (await this.#before()).get(name) ?? NO_STATE,
        layout: layers.layout, uncountedSince: this.#uncounted(),
      };
      const found = correction(before), earlier = sum;
      sum = earlier ? earlier.map((value, i) => value + found[i]) : found;
    }
    return sum && layers.spread(sum);
  }

  async #pace(): Promise<Pace> {
    const { strategy, clock } = this.#config;
    const before = strategy.keepsPace ? (await this.#before()).get(PACE) : undefined;
    return this.#paced ??= new Pace(clock, strategy.local, before ?? NO_STATE);
  }

  /** The client's state from before this round; read once, and only if needed. */
  async #before(): Promise<State> {
    return await (this.#read ??= this.#here.rounds.load(this.#request.round));
  }

  #uncounted(): number {
    return Number(this.#request.uncounted.get(this.#here.name) ?? 0n);
  }

  async #encode(fit: Fit): Promise<Encoded> {
    const { strategy, layers, keepsTraining, seededNoise } = this.#config, { seed, round } = this.#request;
    const stateful = strategy.stateful || keepsTraining, before: State = stateful ? await this.#before() : new Map();
    const [shared, own] = await layers.leave(fit, before, seed);
    refuseDiverged(shared, this.#here.name);
    const steps = fit.steps || strategy.local.steps(fit.numExamples);
    const context: RoundContext = {
      seed, round, client: this.#here.name, layout: layers.layout, numExamples: fit.numExamples, seededNoise, steps,
    };
    const [payload, residuals] = encode(strategy.pipeline, shared.delta, before.get(PIPELINE) ?? NO_STATE, context);
    const after = new Map<string, Arrays>([[PIPELINE, residuals], ...own]), sent = new Map<string, Vector>();
    for (const stream of strategy.allStreams) {
      const size = stream.size(layers.layout);
      if (!size && !stateful) continue; // a model without buffers: nothing to send or keep
      const [values, kept] = stream.encode({
        server: this.#request.streams.get(stream.name) ?? NONE, state: before.get(stream.name) ?? NO_STATE, fit: shared,
        context, steps, learningRate: strategy.local.learningRateAt(round), uncountedSince: this.#uncounted(),
      });
      after.set(stream.name, kept);
      if (size) sent.set(stream.name, values);
    }
    if (keepsTraining) after.set(TRAINER, fit.state ?? NO_STATE);
    if (strategy.keepsPace) after.set(PACE, (await this.#pace()).kept);
    if (stateful) await this.#here.rounds.save(round, after);
    return { payload, shared, sent };
  }
}

/** The samples of a client, of which there must be some. Throws `RangeError`. */
function clientSamples(client: string, samples: Samples): Samples {
  if (!samples.targets.length) throw new RangeError(`client '${client}' has no samples to train on`);
  return samples;
}

function refuseDiverged({ delta, buffers, metrics }: Fit, client: string): void {
  const told = [...metrics.values()];
  if (delta.every(Number.isFinite) && buffers.every(Number.isFinite) && told.every(Number.isFinite)) return;
  throw new Diverged(`client '${client}': what it has learned is not finite`);
}
