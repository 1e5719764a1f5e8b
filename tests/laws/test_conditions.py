"""What a part asks of a strategy is held against it when it is built, a part of another package's too."""

import re
from dataclasses import replace

import numpy as np
import pytest

from hedgerow.client.answer import read_request
from hedgerow.client.client_round import ClientConfig
from hedgerow.privacy.accounting import Budget
from hedgerow.server.rounds import begin
from hedgerow.strategies import Strategy, chain, clip, cyclic, gaussian_noise, median, parse_pipeline, poisson
from hedgerow.strategies import protection as under_test
from hedgerow.strategies.conditions import Condition, excludes, needs
from hedgerow.strategies.release import Noise
from hedgerow.strategies.streams import Stream
from hedgerow.strategies.transforms.clipping import adaptive_clip
from hedgerow.strategies.transforms.noise import banded_noise
from hedgerow.types import Layout, Model
from tests.laws.test_order import bare

BUDGET = Budget(delta=1e-5)
PRIVATE = Strategy(
    pipeline=chain(clip(1.0), gaussian_noise(1.0)), sampling=poisson(20, population=100), budget=BUDGET
)
BY_CLIENTS = "distributed_noise(2.0, 1.0, 0.001953125, 30)"
ROUNDED = f"randomized_round(0.001953125, 1.0), {BY_CLIENTS}"
MASKED = Strategy(pipeline=parse_pipeline("chain(clip(1.0), quantize(8, range=0.1), mask())"))
TAKING_TURNS = replace(
    PRIVATE, sampling=cyclic(30, population=90), pipeline=parse_pipeline(f"chain(clip(1.0), {ROUNDED})")
)


class Trains:
    """Enough of a trainer for a message to be read."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout


def piped(text: str) -> dict[str, object]:
    return {"pipeline": parse_pipeline(text)}


# A strategy that is built, what is changed in it, and what is then said.
BROKEN = {
    "a range without a mask": (Strategy(), piped("quantize(8, range=0.1)"), "integers for a mask to sum"),
    "a mask of real values": (MASKED, piped("chain(clip(1.0), mask())"), "not whole numbers"),
    "a mask and a rule": (MASKED, {"aggregate": median()}, "needs each client's update"),
    "a mask and a bound": (MASKED, {"max_norm": 1.0}, "max_norm needs each client's update"),
    "a mask and a bound by the median": (MASKED, {"norm_bound": 5.0}, "norm_bound needs each client's"),
    "a mask for too many": (MASKED, {"sampling": poisson(9000, 100_000)}, "a mask allows at most 4096"),
    "noise without a clip": (PRIVATE, {"pipeline": gaussian_noise(1.0)}, "noise but no clip"),
    "noise of the server under a mask": (
        PRIVATE,
        piped("chain(clip(1.0), gaussian_noise(1.0), quantize(8, range=0.1), mask())"),
        "leaves the noise to the server",
    ),
    "noise and weights": (
        PRIVATE,
        {"pipeline": replace(PRIVATE.pipeline, kinds=("weight", *PRIVATE.pipeline.kinds))},
        "weights clients: a weight scales",
    ),
    "noise and what clients keep": (
        PRIVATE,
        {"pipeline": replace(PRIVATE.pipeline, stateful=True)},
        "keeps state on the clients",
    ),
    "noise for anybody": (PRIVATE, {"sampling": Strategy().sampling}, "the accounting does not hold"),
    "noise for an unknown number": (
        PRIVATE,
        {"sampling": replace(PRIVATE.sampling, population=None)},
        "the accounting does not hold",
    ),
    "noise of clients by chance": (TAKING_TURNS, {"sampling": PRIVATE.sampling}, "rely on secret sampling"),
    "noise of clients on real values": (
        TAKING_TURNS,
        piped(f"chain(clip(1.0), {BY_CLIENTS})"),
        "to values that are not integers",
    ),
    "noise of clients on chosen values": (
        TAKING_TURNS,
        piped(f"chain(clip(1.0), top_k(0.5), {ROUNDED})"),
        "which values a client chose",
    ),
    "noise of clients and a norm that adapts": (
        TAKING_TURNS,
        piped(f"chain(adaptive_clip(1.0), {ROUNDED})"),
        "which must stay hidden",
    ),
    "bands wider than turns": (
        PRIVATE,
        {"pipeline": chain(clip(1.0), banded_noise(1.0, 4, 10))},
        "subtracted again over 4 rounds",
    ),
    "bands and a norm that adapts": (
        replace(PRIVATE, sampling=cyclic(10, population=100)),
        {"pipeline": chain(adaptive_clip(1.0), banded_noise(1.0, 4, 10))},
        "needs the same norm in every round",
    ),
    "noise and a rule": (PRIVATE, {"aggregate": median()}, "noise is calibrated to a sum"),
    "noise and a quorum": (PRIVATE, {"quorum": 0.9}, "a quorum would reveal"),
    "noise and a bound by the median": (PRIVATE, {"norm_bound": 5.0}, "would reveal them without noise"),
    "noise without a budget": (PRIVATE, {"budget": None}, "no delta is given"),
    "a norm that adapts without noise": (Strategy(), {"pipeline": adaptive_clip(1.0)}, "without noise"),
    "a budget without noise": (Strategy(), {"budget": BUDGET}, "adds no noise; use dp_fedavg"),
    "a rule that counts all alike, and weights": (
        Strategy(aggregate=median()),
        piped("weight_by_examples()"),
        "counts all clients the same",
    ),
}


@pytest.mark.parametrize(("strategy", "change", "says"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_condition_is_said_with_a_remedy(strategy, change, says) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        replace(strategy, **change)
    assert re.search("; (use|put|let|leave|clip|ask|take|add|give)|: give ", str(caught.value))
    assert "{" not in str(caught.value)


def test_every_condition_of_masks_and_noise_is_under_test() -> None:
    noises = [Noise(1.0, bands=(1.0, 0.5, 0.2, 0.1)), Noise(1.0, min_honest=20)]
    found = [under_test._SUMMED, *under_test._MASKED, under_test._ASKED]
    found += [condition for noise in noises for condition in under_test._noised(noise)]
    reasons = {re.sub(r"\{.*?\}", " ", condition.reason) for condition in found}
    untested = [reason for reason in reasons if not any(says in reason for _, _, says in BROKEN.values())]
    assert len(reasons) == 22
    assert untested == []


def test_a_step_of_another_package_brings_its_own() -> None:
    ask = (excludes("momentum", reason="{pipeline.name} wants plain SGD"), needs("linear", reason="a mean"))
    step = replace(bare("quantize"), conditions=ask)
    Strategy(pipeline=chain(clip(1.0), step))
    local = replace(Strategy().local, momentum=0.9)
    with pytest.raises(ValueError, match=r"chain\(clip\(1.0\), my_quantize\(\)\) wants plain SGD"):
        Strategy(pipeline=chain(clip(1.0), step), local=local)
    with pytest.raises(ValueError, match="a mean"):
        Strategy(pipeline=step, aggregate=median())


def stream(size: int = 1, **options) -> Stream:
    return Stream(
        "own",
        size=lambda layout: size,
        encode=lambda local: (np.zeros(1, np.float32), {}),
        update=lambda value, aggregate, totals: aggregate,
        **options,
    )


@pytest.mark.parametrize("strategy", [PRIVATE, MASKED, TAKING_TURNS], ids=["noise", "mask", "clients' noise"])
def test_a_stream_is_never_sent_in_the_open_beside_what_is_protected(strategy) -> None:
    with pytest.raises(ValueError, match=r"'own' would be sent in the clear, next to what chain\("):
        replace(strategy, streams=(stream(),))
    assert replace(strategy, streams=(stream(size=0, sends=False),)).streams


def test_a_stream_that_says_it_sends_nothing_and_does_is_found_on_the_server_and_on_the_client() -> None:
    strategy, layout = replace(PRIVATE, streams=(stream(sends=False),)), Layout.flat(2)
    with pytest.raises(ValueError, match=r"'own' declares sends=False, but clients would send 1 values"):
        begin(strategy, Model(np.zeros(2, np.float32)), layout)
    with pytest.raises(ValueError, match="declares sends=False"):
        read_request(ClientConfig(strategy, Trains(layout)), {})


def test_a_condition_of_a_stream_may_look_at_the_whole_strategy() -> None:
    own = Condition(lambda strategy: strategy.quorum < 0.9, "own needs nearly all of {sampling.name}")
    assert Strategy(quorum=0.95, streams=(stream(conditions=(own,)),)).streams
    with pytest.raises(ValueError, match=r"own needs nearly all of uniform\(10\)"):
        Strategy(streams=(stream(conditions=(own,)),))
