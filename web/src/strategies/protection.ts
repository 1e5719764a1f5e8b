/** The conditions that masks and noise put on a strategy (`hedgerow.strategies.protection`). */

import { MOST_CLIENTS } from "../ring/vector.ts";
import { type Condition, excludes, needs } from "./conditions.ts";
import type { Noise, Protection } from "./pipeline/transform.ts";

/** The conditions of a pipeline's protection. */
export function conditionsOf({ maxInt, secure, serverClip, noise }: Protection): readonly Condition[] {
  return [
    ...(maxInt(0) ? [SUMMED] : []), ...(secure ? MASKED : []), ...(noise ? noised(noise) : []),
    ...(serverClip?.share ? [ASKED] : []),
  ];
}

const SUMMED = needs(
  ["mask", "noise", "discrete noise"],
  "{pipeline.name} has a range, and so sends integers for a mask to sum; put mask() after it, or leave out the range",
);

const MASKED: readonly Condition[] = [
  needs(
    ["whole numbers"],
    "{pipeline.name} masks values that are not whole numbers, and masks cancel only for whole numbers of the same"
      + " scale; put a quantiser with a range before the mask, such as quantize(8, range=0.1)",
  ),
  needs(
    ["mean"],
    "{aggregate.name} needs each client's update, and {pipeline.name} lets the server see only their sum; use mean(),"
      + " or a pipeline without a mask",
  ),
  excludes(
    ["max_norm"],
    "max_norm needs each client's update, and {pipeline.name} lets the server see only their sum; clip on the clients"
      + " instead",
  ),
  excludes(
    ["norm_bound"],
    "norm_bound needs each client's update, and {pipeline.name} lets the server see only their sum; leave it out",
  ),
  {
    broken: ({ sampling }) => (sampling.mostClients ?? 0) > MOST_CLIENTS,
    reason: "a cohort of {sampling.name} may have {sampling.most_clients} clients, and a mask allows at most"
      + ` ${MOST_CLIENTS}; ask fewer clients`,
  },
];

const BOUNDED = needs(
  ["bounded"],
  "{pipeline.name} has noise but no clip: nothing bounds a client's update; put clip(...) first",
);

const BY_THE_SERVER = excludes(
  ["mask"],
  "{pipeline.name} leaves the noise to the server, which under a mask cannot bound what a client adds, or the effect of"
    + " rounding; let clients add the noise: secure_dp_fedavg, or chain(clip(...), randomized_round(...),"
    + " distributed_noise(...), mask())",
);

const UNCOUNTED = "the accounting does not hold for {sampling.name}: it needs clients that are drawn independently and"
  + " a cohort whose expected size is public; use poisson(...) or cyclic(...)";

const COUNTED: readonly Condition[] = [
  excludes(
    ["weight"],
    "{pipeline.name} weights clients: a weight scales a clipped update past its bound; leave it out, with"
      + " weighted=False, so that all clients count the same",
  ),
  excludes(
    ["stateful"],
    "{pipeline.name} keeps state on the clients, so an update also affects later rounds, which are counted without it;"
      + " leave out error_feedback",
  ),
  needs(["independent", "turns"], UNCOUNTED),
  needs(["public size"], UNCOUNTED),
];

const BY_CLIENTS: readonly Condition[] = [
  needs(
    ["turns"],
    "noise from the clients protects them from the server, which knows whom {sampling.name} drew; use cyclic(clients,"
      + " population=...), which does not rely on secret sampling",
  ),
  needs(
    ["quantize"],
    "{pipeline.name} adds integer noise to values that are not integers; put randomized_round(...) first",
  ),
  needs(
    ["summable"],
    "{pipeline.name} reveals without noise which values a client chose to send; leave out top_k",
  ),
  excludes(
    ["adaptive clip"],
    "{pipeline.name} adapts its norm to single clients' answers, which must stay hidden; use clip(...)",
  ),
];

const RELEASED: readonly Condition[] = [
  needs(["mean"], "noise is calibrated to a sum, and {aggregate.name} is not one; use mean()"),
  excludes(
    ["quorum"],
    "a quorum would reveal how many clients took part; leave it out: private rounds always count",
  ),
  excludes(
    ["norm_bound"],
    "norm_bound depends on the clients' norms and would reveal them without noise; leave it out: {pipeline.name} bounds"
      + " each client",
  ),
  needs(["budget"], "no delta is given: give budget=Budget(delta=...), well below 1 / clients"),
];

const ASKED = needs(
  ["noise", "discrete noise"],
  "{pipeline.name} reveals the clients' norms without noise; add gaussian_noise(...)",
);

/** The conditions under which what is counted of noise is true. */
function noised({ minHonest, bands }: Noise): Condition[] {
  return [
    BOUNDED, ...(minHonest ? [] : [BY_THE_SERVER]), ...COUNTED, ...(minHonest ? BY_CLIENTS : []),
    ...(bands > 1 ? banded(bands) : []), ...RELEASED,
  ];
}

function banded(bands: number): Condition[] {
  return [
    {
      broken: ({ sampling }) => bands > (sampling.groups ?? 1),
      reason: `noise is subtracted again over ${bands} rounds, and {sampling.name} lets a client be in two; use`
        + ` cyclic(clients, population=...) with a population of at least ${bands} times the clients`,
    },
    excludes(
      ["adaptive clip"],
      "correlated noise needs the same norm in every round, and {pipeline.name} adapts it; use clip(...)",
    ),
  ];
}
