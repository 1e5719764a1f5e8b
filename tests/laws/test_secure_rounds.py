"""Whole rounds, with clients that leave at any stage: sums are exact; none is lost while enough survive."""

import os
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import RingSum, RingVector, Shape
from hedgerow.secure.errors import TooFewShares, TooFewSurvivors
from hedgerow.strategies import decode, encode, parse_pipeline
from hedgerow.strategies.transforms.mask import shape_of, to_ring
from hedgerow.types import Client, CohortSum, Fit, Layout, Payload, RoundContext
from tests.secure_round import STAGES, Rehearsal, names, same

LENGTH = 6
# `make secure-long` asks for 10,000.
EXAMPLES = int(os.environ.get("HEDGEROW_SECURE_ROUNDS", "100"))


@dataclass(frozen=True)
class Case:
    """A cohort, what it assumes, what it sends, and who leaves before which stage.

    Attributes:
        stays: the number of stages each client answers.
    """

    secure: SecureAggregation
    pipeline: str
    stays: tuple[int, ...]
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    corrupt, dropout = draw(st.sampled_from([(0.0, 0.0), (0.2, 0.2), (0.1, 0.3), (0.3, 0.1), (0.0, 0.4)]))
    metrics = draw(st.sampled_from([(), ("loss",), ("accuracy", "loss")]))
    # Above 41 clients, not all are neighbours.
    clients = draw(st.sampled_from([4, 4, 5, 5, 7, 8, 9, 10] * 40 + [12, 13, 14, 44, 47]))
    try:
        SecureAggregation(corrupt, dropout, min_clients=clients)
    except ValueError:  # too few for these shares
        corrupt, dropout, clients = 0.2, 0.2, 5
    secure = SecureAggregation(corrupt, dropout, min_clients=min(clients, 10), metrics=metrics)
    bits, weight = draw(st.integers(2, 12)), draw(st.sampled_from([1, 1, 7, 100]))
    rounding = draw(st.sampled_from(["stochastic", "nearest"]))
    first = draw(st.sampled_from(["clip(1.0)", "random_k(0.5)", "chain(clip(2.0), random_k(0.5))"]))
    pipeline = (
        f"chain(weight_by_examples({weight}), {first}, quantize({bits}, rounding='{rounding}', range=0.5),"
        f" mask({corrupt}, {dropout}, {secure.min_clients}, metrics='{' '.join(metrics)}'))"
    )
    most = clients - secure.plan(clients).survivors
    leave = draw(st.integers(0, most) if draw(st.integers(0, 4)) else st.integers(0, clients))
    first_to_leave = draw(st.integers(0, clients - 1))
    stays = [5] * clients
    for place, answered in enumerate(draw(st.lists(st.integers(0, 4), min_size=leave, max_size=leave))):
        stays[(first_to_leave + place) % clients] = answered
    return Case(secure, pipeline, tuple(stays), draw(st.integers(0, 2**32)))


def updates(case: Case) -> tuple[Shape, dict[str, tuple[RingVector, np.ndarray, int]]]:
    """What each client adds, as the pipeline makes it; and its quantised values and weight."""
    pipeline, layout = parse_pipeline(case.pipeline), Layout.flat(LENGTH)
    cohort = names(len(case.stays))
    shape = shape_of(pipeline, layout, len(cohort))
    random = np.random.default_rng(case.seed)
    made = {}
    for name in cohort:
        # Extreme values are the ones that could overflow.
        delta = random.choice([-1e6, -0.3, 0.0, 0.01, 1e6], LENGTH).astype(np.float32)
        examples = int(random.integers(1, 200))
        context = RoundContext(case.seed, 1, Client(name), layout, examples)
        payload, _ = encode(pipeline, delta, {}, context)
        fit = Fit(delta, np.empty(0, np.float32), examples, {"loss": float(random.normal())})
        vector = to_ring(payload, fit, shape, pipeline)
        made[name] = vector, payload.values.astype(object), int(payload.weight)
    return shape, made


def survives(rehearsal: Rehearsal, case: Case) -> bool:
    """Whether enough clients are left at each stage, from the graph and the plan alone."""
    plan = case.secure.plan(len(case.stays))
    stays = dict(zip(rehearsal.members, case.stays, strict=True))
    left = [{name for name, count in stays.items() if count > stage} for stage in range(5)]
    if any(len(there) < plan.survivors for there in left[:4]):
        return False
    out = {name: {a.name for a in rehearsal.shared[name].neighbours} for name in left[1]}
    if any(len(out[name] & left[1]) < plan.threshold for name in left[2]):
        return False
    if any(len(out[name] & left[2]) < plan.threshold for name in left[3]):
        return False
    return all(len(out[name] & left[4]) >= plan.threshold for name in left[1])


def check(case: Case) -> None:
    shape, made = updates(case)
    rehearsal = Rehearsal(names(len(case.stays)), case.secure, shape, seed=str(case.seed))
    rehearsal.vector = lambda name: RingVector(made[name][0].values.copy(), made[name][0].words.copy())
    stays = dict(zip(rehearsal.members, case.stays, strict=True))
    try:
        total = rehearsal.run(lambda stage, name: stays[name] <= STAGES.index(stage))
    except (TooFewSurvivors, TooFewShares):
        assert not survives(rehearsal, case)
        event("failed")
        return
    event("finished")
    assert survives(rehearsal, case)
    counted = [name for name, count in stays.items() if count > 2]
    in_ring = RingSum(shape)
    for name in counted:
        in_ring.add(made[name][0])
    shape.ring.reduced(in_ring.values)
    assert same(total, in_ring)
    # In Python's whole numbers, which have no end: nothing has overflowed.
    exact = sum(made[name][2] * made[name][1] for name in counted)
    weight = sum(made[name][2] for name in counted)
    assert shape.ring.signed(total.values).tolist() == exact.tolist()
    assert total.weight == weight
    mean = decode(
        parse_pipeline(case.pipeline),
        Payload({"values": total.mean()}),
        RoundContext(case.seed, 1, CohortSum(), Layout.flat(LENGTH)),
    )
    assert mean.shape == (LENGTH,)


@given(cases())
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_the_sum_is_exact_and_no_round_is_lost_while_enough_survive(case: Case) -> None:
    check(case)


@pytest.mark.parametrize("stage", STAGES)
def test_as_many_may_leave_before_any_stage_as_the_plan_allows(stage: str) -> None:
    secure = SecureAggregation()
    rehearsal = Rehearsal(names(20), secure)
    allowed = 20 - secure.plan(20).survivors
    gone = set(rehearsal.members[:allowed])
    total = rehearsal.run(lambda at, name: name in gone and STAGES.index(at) >= STAGES.index(stage))
    assert same(total, rehearsal.expected())
    counted = 20 if stage in ("survivors", "unmask") else 20 - allowed
    assert len(rehearsal.plain) == counted


@pytest.mark.parametrize("stage", STAGES)
def test_one_more_and_the_round_fails_by_name(stage: str) -> None:
    secure = SecureAggregation()
    rehearsal = Rehearsal(names(20), secure)
    gone = set(rehearsal.members[: 20 - secure.plan(20).survivors + 1])
    with pytest.raises((TooFewSurvivors, TooFewShares)):
        rehearsal.run(lambda at, name: name in gone and STAGES.index(at) >= STAGES.index(stage))


def test_a_masked_vector_looks_random_and_differs_in_every_round() -> None:
    shape = shape_of(parse_pipeline("chain(quantize(8, range=1.0), mask())"), Layout.flat(4000), 10)
    vectors = []
    for seed in ("a", "b"):
        rehearsal = Rehearsal(names(10), shape=shape, seed=seed)
        rehearsal.vector = lambda name: RingVector(
            np.zeros(shape.length, shape.ring.dtype), np.zeros(shape.words, np.uint64)
        )
        rehearsal.until("survivors")
        sent = dict(rehearsal.transcript)["vector client-000"]
        vectors.append(np.frombuffer(sent[: -8 * shape.words], np.uint8))
    for vector in vectors:
        # Of uniform bytes, the mean is 127.5 with a standard deviation of 73.9 / sqrt(n).
        assert abs(vector.mean() - 127.5) < 6 * 73.9 / len(vector) ** 0.5
    assert (vectors[0] == vectors[1]).mean() < 0.02
