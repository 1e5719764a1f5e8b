"""The models of a run's last rounds, and of its best one, are there, each as it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from hedgerow.promotion.candidates import CandidateError, Keeper, best_of, candidates, content_of
from hedgerow.promotion.tensors import contiguous, model_of, named_tensors
from hedgerow.types import Layout, Model, Tensor
from hedgerow.types.model import Unsent

LAYOUT = Layout(
    (Tensor("w", (2, 2)), Tensor("scale", ())),
    buffers=(Tensor("mean", (2,)),),
    constants=(Tensor("mask", (3,)),),
    unsent=(Unsent("seen", "int64", (), bytes(8)),),
    ties=(("again", "w"), ("mask2", "mask")),
)


def model(round: int) -> Model:
    return Model(
        np.full(5, round, np.float32), np.full(2, -round, np.float32), np.arange(3, dtype=np.float32)
    )


def whole(round: int) -> bytes:
    """As a final model is saved."""
    return save(contiguous(named_tensors(model(round), LAYOUT)))


@given(st.integers(1, 4), st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=9), st.booleans())
@settings(max_examples=20, deadline=None)
def test_the_last_ones_and_the_best_are_kept_and_are_what_they_were(tmp_path_factory, most, scores, less):
    run, metric = tmp_path_factory.mktemp("run"), "loss" if less else "accuracy"
    for round, score in enumerate(scores, 1):
        # A process that goes on with the run finds those of before.
        Keeper(run, LAYOUT, most).keep(model(round), round, {} if score is None else {metric: score / 10})
    found = candidates(run)
    known = [(score, -round) for round, score in enumerate(scores, 1) if score is not None]
    best = (min((s, -r) for s, r in known) if less else max(known)) if known else None
    wanted = set(range(max(1, len(scores) - most + 1), len(scores) + 1))
    wanted |= set() if best is None else {abs(best[1])}
    assert [each.round for each in found] == sorted(wanted)
    assert [content_of(each) for each in found] == [whole(each.round) for each in found]
    assert (best_of(found) is None) == (best is None)
    assert len(list((run / "candidates").glob("frozen-*"))) == 1


def test_a_candidate_is_the_model_and_nothing_is_kept_where_nothing_is_asked_for(tmp_path):
    Keeper(tmp_path, LAYOUT, 0).keep(model(1), 1, {})
    assert not (tmp_path / "candidates").exists()
    Keeper(tmp_path, LAYOUT, 1).keep(model(1), 1, {})
    read = model_of(load(content_of(candidates(tmp_path)[0])), LAYOUT)
    assert [part.tolist() for part in (read.parameters, read.buffers, read.constants)] == [
        part.tolist() for part in (model(1).parameters, model(1).buffers, model(1).constants)
    ]


def test_a_round_that_is_done_again_has_one_candidate(tmp_path):
    keeper = Keeper(tmp_path, LAYOUT, 3)
    for value in (1, 7):
        keeper.keep(model(value), 1, {"accuracy": 0.5})
    assert [content_of(each) for each in candidates(tmp_path)] == [whole(7)]


def test_what_a_killed_write_has_left_is_swept_up_when_the_run_goes_on(tmp_path):
    Keeper(tmp_path, LAYOUT, 3).keep(model(1), 1, {})
    litter = tmp_path / "candidates" / "round-000002-0123456789abcdef.safetensors.partial"
    litter.write_bytes(b"half of it")
    Keeper(tmp_path, LAYOUT, 3)
    assert not litter.exists()
    assert [each.round for each in candidates(tmp_path)] == [1]


def test_what_a_power_cut_has_left_is_no_candidate_or_is_refused(tmp_path):
    keeper = Keeper(tmp_path, LAYOUT, 3)
    for round in (1, 2, 3):
        keeper.keep(model(round), round, {})
    first, second, third = candidates(tmp_path)
    first.file.write_bytes(b"")
    content = second.file.read_bytes()
    second.file.write_bytes(content[:-4] + bytes(4))
    assert [each.round for each in candidates(tmp_path)] == [2, 3]
    with pytest.raises(CandidateError, match="not match its name"):
        content_of(second)
    (frozen,) = (tmp_path / "candidates").glob("frozen-*")
    frozen.unlink()
    with pytest.raises(CandidateError, match="cannot be read"):
        content_of(third)
