"""Rings, what goes into them, and which pipelines and cohorts are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.ring.arithmetic import Ring, ring_for
from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import RingSum, RingVector, open_payload, read_vector
from hedgerow.strategies import (
    chain,
    clip,
    cyclic,
    eden,
    entropy,
    fedavg,
    mask,
    parse_pipeline,
    quantize,
    random_k,
    secure_dp_fedavg,
    secure_fedavg,
    ternary,
    top_k,
)
from hedgerow.strategies.aggregates.base import Aggregate
from hedgerow.strategies.aggregates.mean import FixedPointMean
from hedgerow.strategies.pipeline.coding import decode, encode
from hedgerow.strategies.transforms.mask import METRIC_RANGE, shape_of, to_ring
from hedgerow.types import Client, Fit, Layout, Payload, PayloadError, RoundContext, Tensor

PIPELINE = chain(quantize(4, range=1.0), mask(metrics="loss accuracy"))
LAYOUT = Layout.flat(3)


@given(st.integers(1, 32), st.data())
@settings(max_examples=300)
def test_numbers_go_into_a_ring_and_come_back_packed_or_not(bits: int, data: st.DataObject) -> None:
    ring = Ring(bits)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    numbers = data.draw(st.lists(st.integers(low, high), max_size=40))
    lanes = ring.reduced(ring.put(np.array(numbers, np.int64)))
    packed = ring.pack(lanes)
    assert len(packed) == -(-len(numbers) * bits // 8)
    again = ring.unpack(np.frombuffer(packed.tobytes(), np.uint8), len(numbers))
    assert ring.signed(again.copy()).tolist() == numbers
    with pytest.raises(PayloadError, match="bytes"):
        ring.unpack(np.append(packed, np.uint8(0)), len(numbers))


@given(st.integers(1, 4096), st.integers(1, 1000), st.integers(1, 40_000))
@settings(max_examples=300)
def test_a_ring_is_the_smallest_in_which_no_sum_overflows(clients: int, weight: int, largest: int) -> None:
    most = clients * weight * largest
    if most >= 2**31:
        with pytest.raises(ValueError, match="32 are allowed: send fewer bits"):
            ring_for(clients, weight, largest)
        return
    ring = ring_for(clients, weight, largest)
    for total in (most, -most):
        assert ring.signed(ring.reduced(ring.put(np.array([total])))).tolist() == [total]
    # In a ring of a bit less, the largest and the smallest sum are not both told from others.
    assert 2 * most + 1 > 2 ** (ring.bits - 1)


def test_carry_room_of_four_bits_and_a_hundred_clients() -> None:
    assert shape_of(PIPELINE, LAYOUT, 100).ring.bits == 4 + 7
    weighted = parse_pipeline("chain(weight_by_examples(8), quantize(4, range=1.0), mask())")
    assert shape_of(weighted, LAYOUT, 100).ring.bits == 4 + 7 + 3


def vector(values, *, weight=1.0, fit=None, pipeline=PIPELINE, clients=100) -> RingVector:
    fit = fit or Fit(np.zeros(3, np.float32), np.empty(0, np.float32), 5, {"loss": 0.5})
    payload = Payload({"values": np.array(values, np.int32)}, weight)
    return to_ring(payload, fit, shape_of(pipeline, LAYOUT, clients), pipeline)


def test_weight_and_metrics_are_words_and_a_missing_metric_counts_nothing() -> None:
    made = vector([7, -7, 0])
    assert made.words.view(np.int64).tolist() == [1, 5, 5 * 2**19, 0, 0]
    total = RingSum(shape_of(PIPELINE, LAYOUT, 100))
    total.add(made)
    fit = Fit(np.zeros(3, np.float32), np.empty(0, np.float32), 15, {"loss": 1.5, "accuracy": -1.0})
    total.add(vector([1, 1, 1], fit=fit))
    assert total.metrics() == {"loss": (5 * 0.5 + 15 * 1.5) / 20, "accuracy": -1.0}
    assert total.weight == 2
    assert total.mean().tolist() == [4, -3, 0.5]


@pytest.mark.parametrize(("loss", "counted"), [(1e30, METRIC_RANGE), (-math.inf, -METRIC_RANGE)])
def test_a_metric_is_cut_to_its_range(loss: float, counted: float) -> None:
    fit = Fit(np.zeros(3, np.float32), np.empty(0, np.float32), 5, {"loss": loss})
    total = RingSum(shape_of(PIPELINE, LAYOUT, 100))
    total.add(vector([0, 0, 0], fit=fit))
    assert total.metrics() == {"loss": counted}


@pytest.mark.parametrize(
    ("values", "weight", "says"),
    [
        ([8, 0, 0], 1.0, "exceeds 7"),
        ([0, 0, -8], 1.0, "exceeds 7"),
        ([0, 0, 0], 2.0, "from 1 to 1"),
        ([0, 0, 0], 0.5, "whole"),
    ],
)
def test_what_could_overflow_is_refused_on_the_client(values: list[int], weight: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        vector(values, weight=weight)


@pytest.mark.parametrize("buffer", [1e12, math.nan, -math.inf])
def test_a_buffer_that_could_overflow_is_refused(buffer: float) -> None:
    layout = replace(LAYOUT, buffers=LAYOUT.parameters)
    fit = Fit(np.zeros(3, np.float32), np.array([0, buffer, 0], np.float32), 5)
    payload = Payload({"values": np.zeros(3, np.int32)})
    with pytest.raises(ValueError, match="a buffer, or a value of a stream, exceeds"):
        to_ring(payload, fit, shape_of(PIPELINE, layout, 4096), PIPELINE)


def test_a_vector_of_another_form_is_refused_and_changes_nothing() -> None:
    shape = shape_of(PIPELINE, LAYOUT, 100)
    good = open_payload(vector([1, 2, 3]), shape)
    total = RingSum(shape)
    total.add(read_vector(good, shape))
    for bad in (
        {"values": good["values"]},
        {**good, "values": good["values"][:-1]},
        {**good, "values": good["values"].astype(np.int8)},
        {**good, "values": good["values"] | np.uint8(255)},
        {**good, "words": good["words"][:-1]},
        {**good, "words": good["words"].astype(np.float64)},
    ):
        with pytest.raises(PayloadError):
            total.add(read_vector(bad, shape))
    with pytest.raises(PayloadError):
        total.add(RingVector(total.values[:-1], total.words))
    assert total.weight == 1


def test_one_masked_payload_is_never_decoded() -> None:
    context = RoundContext(1, 1, Client("ann"), LAYOUT)
    payload, _ = encode(PIPELINE, np.ones(3, np.float32), {}, context)
    with pytest.raises(PayloadError, match="only the sum of a cohort"):
        decode(PIPELINE, payload, context)


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("mask()", "not whole numbers.*put a quantiser with a range before the mask"),
        ("chain(clip(1.0), mask())", "not whole numbers"),
        ("chain(random_k(0.1), mask())", "not whole numbers"),
        ("quantize(8, range=1.0)", r"put mask\(\) after it, or leave out the range"),
        ("chain(weight_by_examples(), quantize(16, range=1.0), mask())", "needs a ring of 40 bits"),
    ],
)
def test_a_strategy_refuses_what_cannot_be_masked(pipeline: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fedavg(pipeline=parse_pipeline(pipeline), weighted=False)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((top_k(0.1), mask()), "use random_k"),
        ((mask(), quantize(8, range=1.0)), "quantize first"),
        ((mask(), clip(1.0)), "put the clip first"),
        ((mask(), random_k(0.1)), "put random_k before the mask"),
        ((quantize(8), mask()), "a range that all clients share"),
        ((eden(2), mask()), r"eden\(2\) cannot come before a mask: clients would encode diff.*a range"),
        ((eden(0.5), mask()), "use random_k"),
        ((ternary(0.1), mask()), "use random_k"),
        ((entropy(quantize(8)), mask()), r"entropy\(quantize\(8\)\) cannot come before a mask.*a range"),
    ],
)
def test_impossible_orders_are_refused(steps, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        chain(*steps)


def test_what_needs_single_updates_is_refused_with_a_mask() -> None:
    median = Aggregate("median()", FixedPointMean, linear=False)
    with pytest.raises(ValueError, match=r"median\(\) needs each client's update"):
        replace(secure_fedavg(), aggregate=median)
    with pytest.raises(ValueError, match="clip on the clients instead"):
        secure_fedavg(max_norm=1.0)


def test_the_preset_takes_a_sparsifier_and_equal_weights() -> None:
    strategy = secure_fedavg(2.0, bits=4, pipeline=random_k(0.1), weighted=False, corrupt=0.1)
    text = "chain(clip(2.0), random_k(0.1), quantize(4, range=2.0), mask(corrupt=0.1))"
    assert strategy.pipeline.name == text
    found = [pipeline.protection.secure for pipeline in (parse_pipeline(text), strategy.pipeline)]
    assert found == [SecureAggregation(corrupt=0.1)] * 2


@pytest.mark.parametrize(
    "arguments", [{"corrupt": 1.0}, {"dropout": -0.1}, {"min_clients": 2}, {"failure_bits": 10}]
)
def test_settings_out_of_range_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match="it must be"):
        mask(**arguments)
    assert mask().name == "mask()"


# Plans


def tail(population: int, marked: int, drawn: int, more_than: int) -> float:
    ways = (
        math.comb(marked, i) * math.comb(population - marked, drawn - i)
        for i in range(more_than + 1, drawn + 1)
    )
    return sum(ways) / math.comb(population, drawn)


@pytest.mark.parametrize("clients", [10, 20, 41, 42, 60, 100, 250, 1000])
@pytest.mark.parametrize(("corrupt", "dropout"), [(0.2, 0.2), (0.1, 0.3), (0.3, 0.1), (0.05, 0.05)])
def test_a_plan_holds_what_it_promises(clients: int, corrupt: float, dropout: float) -> None:
    plan = SecureAggregation(corrupt, dropout, min_clients=clients).plan(clients)
    bad, leaving = math.ceil(corrupt * clients - 1e-9), math.ceil(dropout * clients - 1e-9)
    k, t = plan.neighbours, plan.threshold
    assert k == clients - 1 or k >= 40
    # So many corrupt neighbours that they could put a secret together, or too few left to do it; the server
    # may say that all who may leave have left before the neighbours are drawn, and none of the corrupt.
    for left in (clients, clients - leaving):
        assert clients * tail(left - 1, bad, min(k, left - 1), t - 1) <= 2**-40
        assert SecureAggregation(corrupt, dropout).corrupt_near(clients, left, k) < t
    assert clients * tail(clients - 1, leaving, k, k - t) <= 2**-40
    # Two lists of survivors would need more honest signers than there are; and those who stay are enough.
    assert 2 * plan.survivors > clients + bad
    assert plan.survivors <= clients - leaving


def test_fewer_neighbours_would_not_hold() -> None:
    plan = SecureAggregation().plan(1000)
    k = plan.neighbours - 1
    assert all(
        1000 * tail(799, 200, k, t - 1) > 2**-40 or 1000 * tail(999, 200, k, k - t) > 2**-40
        for t in range(1, k)
    )
    # As many as log n, as has been proposed for servers that only look, protect nobody here.
    few = round(math.log2(1000))
    assert tail(999, 200, few, few // 2) > 1e-3


def test_shares_that_leave_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="use a larger cohort, or lower corrupt or dropout"):
        SecureAggregation(0.4, 0.4)


def test_where_clients_add_noise_nothing_is_summed_beside_it():
    noised = secure_dp_fedavg(0.5, 2.0, min_clients=5, sampling=cyclic(10, population=20)).pipeline
    layout = Layout((Tensor("w", (3,)),), (Tensor("mean", (2,)),))
    context = RoundContext(1, 1, Client("ann"), layout, 1)
    payload, _ = encode(noised, np.zeros(3, np.float32), {}, context)
    fit = Fit(np.zeros(3, np.float32), np.ones(2, np.float32), 1)
    with pytest.raises(ValueError, match=r"2 values that are not trained.*GroupNorm"):
        to_ring(payload, fit, shape_of(noised, layout, 10), noised)
