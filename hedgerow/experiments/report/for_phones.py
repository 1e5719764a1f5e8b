"""What a run means for a phone that joins it: what is learned, what leaves the phone, what protects it.

It is made from the strategy, for the page's question whether to join. It comes from
the coordinator, as the page does: what a phone answers, its own policy decides, by
the announced run.
"""

import math
from typing import Any

import numpy as np

import hedgerow
from hedgerow.client.account import most_spent
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.report.units import count, human_bytes
from hedgerow.experiments.runs.run import clients_meant
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.graphs.offer import Offer
from hedgerow.privacy.accounting import epsilon
from hedgerow.recipe.own_data import NAME, OwnSchema
from hedgerow.rng import generator
from hedgerow.strategies.pipeline.coding import encode
from hedgerow.strategies.strategy import Strategy
from hedgerow.strategies.transforms.mask import shape_of
from hedgerow.types import Layout, Model, RoundContext
from hedgerow.types.payload import Client
from hedgerow.wire.messages import pack_train
from hedgerow.wire.sizes import measure

About = dict[str, Any]
"""A table of JSON values."""

_FOUR = 4  # bytes of a float32
_EXAMPLES = 100  # with which a reply's size is measured


def why_not(experiment: Experiment, *, graphs: bool) -> str:
    """Why phones can take no part in a run; empty if they can.

    Args:
        graphs: whether the run offers some.
    """
    if experiment.own_schema is None:
        return (
            f"data.name is {experiment.data.name!r}; for phones it must be {NAME!r}, with a schema, because"
            " each has its own data"
        )
    if not graphs:
        return "phones train by graphs; give --graphs FOLDER, which 'hedgerow export' writes"
    return ""


def about(experiment: Experiment, offer: Offer, build: str) -> About:
    """What the page says before anybody joins.

    Args:
        offer: the run's graphs.
        build: hash of the page that is served.

    Raises:
        CommandError: the run's data have no schema.
    """
    schema, strategy = experiment.own_schema, experiment.strategy()
    if schema is None:
        raise CommandError(why_not(experiment, graphs=True))
    layout = measuring_trainer(experiment).layout
    facts: About = {
        "preset": experiment.strategy_config.name,
        "pipeline": strategy.pipeline.name,
        "rounds": experiment.rounds,
        "model": {"name": experiment.model.name, "values": layout.dimension},
        "schema": schema.to_json(),
        "graphs": offer.to_json(),
        "bytes": {"graphs": offer.size, **_bytes(experiment, strategy, layout)},
        **_protection(experiment, strategy, layout),
    }
    return {
        "hedgerow": hedgerow.__version__,
        "build": build,
        "name": experiment.name,
        "said_by": "coordinator",
        **facts,
        "learned": _learned(experiment, schema),
        "leaves": _leaves(strategy, facts),
        "protects": _protects(facts),
    }


def sentence(said: About) -> str:
    """The three answers in one sentence, for the operator."""
    return f"phones {said['learned']}; {said['leaves']}; {said['protects']}"


def _bytes(experiment: Experiment, strategy: Strategy, layout: Layout) -> About:
    """Bytes of one round's model to a phone, and of its update, as they travel but for the envelope."""
    sizes = layout.dimension, layout.buffer_size, layout.constant_size
    model = Model(*(np.zeros(size, np.float32) for size in sizes))
    down = measure(pack_train(model, layout, round=1, seed=experiment.seed))
    beside = strategy.sent_beside(layout)
    if strategy.pipeline.sum_only:
        shape = shape_of(strategy.pipeline, layout, clients_meant(experiment), beside)
        up = shape.length * shape.ring.dtype.itemsize + 8 * shape.words
    else:
        sample = generator(experiment.seed, "size of an update").normal(size=layout.dimension)
        context = RoundContext(
            experiment.seed, 1, Client("phone"), layout, _EXAMPLES, seeded_noise=True, steps=1
        )
        payload, _ = encode(strategy.pipeline, sample.astype(np.float32), {}, context)
        up = sum(each.nbytes for each in payload.arrays.values()) + _FOUR * (layout.buffer_size + beside)
    return {"down": down + _FOUR * beside, "up": up, "bits_per_value": round(8 * up / layout.dimension, 2)}


def _protection(experiment: Experiment, strategy: Strategy, layout: Layout) -> About:
    """What the strategy does for one phone; `None` stands for what it does not."""
    protection, local = strategy.pipeline.protection, strategy.local
    clip, secure = protection.server_clip, protection.secure
    found: About = {
        "masked": None if secure is None else {"least": secure.honest(secure.min_clients)},
        "clip": None if clip is None else clip.norm(clip.init()),
        "noise": None,
        "epsilon": None,
        "sample_epsilon": None,
    }
    if strategy.private and strategy.budget is not None:
        noise, n = strategy.release.noise, strategy.pipeline.length(layout.dimension)
        events = [noise.event(strategy.sampling, number, n) for number in range(1, experiment.rounds + 1)]
        spent = epsilon(events, strategy.budget.delta, strategy.budget.adjacency)
        found["noise"] = {
            "by": "phones" if noise.min_honest else "coordinator",
            "multiplier": noise.multiplier,
        }
        most = min(spent, strategy.budget.epsilon or math.inf)
        found["epsilon"] = {"of": "phone", "most": most, "delta": strategy.budget.delta}
    if local.sample_noise:
        spent = most_spent(local, experiment.rounds)
        found["sample_epsilon"] = {"of": "sample", "most": spent, "delta": local.sample_delta}
    return found


def _learned(experiment: Experiment, schema: OwnSchema) -> str:
    of = (
        ", ".join(schema.columns[:5]) + (" and more" if len(schema.columns) > 5 else "")
        if schema.columns
        else f"samples of {' x '.join(map(str, schema.input_shape))} values"
    )
    if not schema.classes:
        what = f"predict {schema.label} from {of}"
    else:
        named = ", ".join(schema.classes[:10]) + (" and more" if len(schema.classes) > 10 else "")
        what = f"tell {named} apart by {of}"
    return f"learn to {what}, in {count(experiment.rounds, 'round')} of {experiment.name!r}"


def _leaves(strategy: Strategy, facts: About) -> str:
    sizes = facts["bytes"]
    what = [f"the change of the model's {facts['model']['values']:,} values"]
    what += [] if strategy.private else ["its loss"]
    what += ["the number of its samples"] if "weight" in strategy.pipeline.kinds else []
    told = f"{', '.join(what[:-1])} and {what[-1]} leave" if len(what) > 1 else f"{what[0]} leaves"
    masked = " under a mask" if facts["masked"] else ""
    return (
        f"in each round {told} a phone{masked} ({human_bytes(sizes['up'])} up,"
        f" {human_bytes(sizes['down'])} down), and its data never do"
    )


def _protects(facts: About) -> str:
    by = []
    if facts["masked"]:
        least = facts["masked"]["least"]
        by.append(f"the coordinator sees only sums, of at least {least} honest devices")
    if facts["clip"] is not None and facts["noise"]:
        by.append(f"each change is cut to a length of {facts['clip']:g}")
    if facts["noise"]:
        by_phones = facts["noise"]["by"] == "phones"
        who = "phones add" if by_phones else "the coordinator, which sees each phone's change, adds"
        by.append(f"{who} noise: epsilon at most {facts['epsilon']['most']:.3g} of a phone in all rounds")
    if facts["sample_epsilon"]:
        by.append(f"noise in each step: epsilon at most {facts['sample_epsilon']['most']:.3g} of a sample")
    if by:
        return "; ".join(by)
    return "nothing hides it from the coordinator, which sees each phone's change and could learn of its data"
