"""Wrong arguments of every public name: one sentence that names them, and nothing that is silently wrong."""

import collections.abc
import inspect
import linecache
import math
import shutil
import types
import typing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import hedgerow as hr
from hedgerow.client.data import ClientData
from hedgerow.client.trainer import Trainer
from tests.api.right_arguments import DATASET, RIGHT, SAMPLES, STRATEGY, TASK, a_call

pytestmark = pytest.mark.usefixtures("in_a_folder_with_a_model")

# These are chosen by name, made by the library for its callers, or given to torch and called by it.
NOT_CALLED = {"Deployment", "RoundResult", "absolute_error", "squared_error"}

# Its right call would load dp-accounting: it has a test of its own.
APART = {"calibrated"}

LEFT_OUT = {  # these take no other value than their own
    "dp_fedavg": {"quorum"}, "dp_ftrl": {"quorum"}, "secure_dp_fedavg": {"quorum", "pipeline"},
}  # fmt: skip

TAKEN = {
    ("Payload", "weight"),  # the server looks at it
    ("Strategy", "personal"),  # one text is one pattern
}

MANY_A_ROUND = {
    "Model",
    "Payload",
    "Samples",
    "ServerState",
}  # Python itself says what is wrong with a keyword

VARYING = {
    "chain": ("return", "steps"),
    "entropy": ("return", "steps"),
    "error_feedback": ("return", "steps"),
    "load_dataset": ("return", "options"),
}

CLASSES_MAKE = {
    ("Task", "model"), ("lora", "model"), ("low_rank", "model"), ("ridge", "model"),
    ("class_means", "model"), ("client_app", "data"), ("InProcessGrid", "names"),
}  # fmt: skip

WRONG = [
    None, "", "no such thing", b"bytes", -1, -0.5, 0, 2.5, 10**400, math.nan, math.inf, 1j, True, {},
    {"a": 1},
    [], [1, "a"], (1, 2, 3), object(), int, hr.Strategy, hr.fedavg, nn.Linear(2, 2), np.zeros((2, 2)),
    np.array(["a"]), torch.zeros(2, 2, 2), hr.Samples, SAMPLES, DATASET, STRATEGY, hr.uniform(3), TASK,
]  # fmt: skip


def takes(name: str) -> dict[str, Any]:
    """The annotation of each argument."""
    made = getattr(hr, name)
    make = inspect.unwrap(made.__init__ if isinstance(made, type) else made)
    hints = typing.get_type_hints(make, include_extras=True)
    parts = hints.pop("parts", None) or hints.pop("changes", None)
    if parts is not None:
        (typed,) = typing.get_args(parts)
        hints |= typing.get_type_hints(typed)
    return {key: hint for key, hint in hints.items() if key not in VARYING.get(name, ("return",))}


def fits(hint: Any, value: Any) -> bool:
    """Whether a type checker would take the value; of arrays, whether it might."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(part, value) for part in parts)
    if origin is tuple:
        return isinstance(value, tuple | list)
    if origin is typing.Literal:
        return isinstance(value, str) and value in parts
    if origin is collections.abc.Callable:
        return callable(value) and not isinstance(value, type)
    if hint is Any or origin is np.ndarray or hint in (ClientData, Trainer, np.typing.ArrayLike):
        return hasattr(value, "shape") or isinstance(value, int | float | list | tuple)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value % 1)
    if hint is Path:
        return isinstance(value, Path | str)
    return isinstance(value, typing.cast(Any, origin or hint)) and not isinstance(value, type)


def said_of(error: Exception, argument: str, value: Any) -> None:
    """Raised on purpose by Hedgerow: one line, not too long, that names the argument or says its value."""
    text, trace = str(error), error.__traceback__
    assert isinstance(error, ValueError | TypeError), repr(error)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    where = trace.tb_frame.f_code.co_filename
    assert "/hedgerow/" in where, f"{where} says {text}"
    assert linecache.getline(where, trace.tb_lineno).strip().startswith("raise "), f"an accident: {text}"
    assert "\n" not in text
    assert len(text) < 400, text
    assert "object at 0x" not in text, text
    named = argument in text or argument.removesuffix("s") in text.replace(" ", "_")
    assert named or str(getattr(value, "name", value)) in text, f"{argument}={value!r}: {text}"


def test_every_public_name_is_tried():
    assert set(hr.__all__) == set(RIGHT) | NOT_CALLED | APART


@pytest.mark.parametrize("name", RIGHT)
def test_every_argument_is_tried(name):
    assert set(RIGHT[name]) == set(takes(name)) - LEFT_OUT.get(name, set())


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, given in RIGHT.items() for key in given]
)
def test_a_wrong_argument_gives_one_sentence_that_names_it(name, argument):
    hint = takes(name)[argument]
    a_call(name, RIGHT[name])
    for value in WRONG:
        if (name, argument) == ("train", "min_clients") and fits(hint, value):
            continue  # it waits for them
        shutil.rmtree("run", ignore_errors=True)  # which is another value's run
        try:
            a_call(name, {**RIGHT[name], argument: value})
        except Exception as error:
            if not (callable(value) and fits(hint, value)):  # else what it raises is its own
                said_of(error, argument, value)
        else:
            as_a_class = isinstance(value, type) and (name, argument) in CLASSES_MAKE
            taken = as_a_class or (name, argument) in TAKEN
            assert fits(hint, value) or taken, f"{argument}={value!r} is taken"


@pytest.mark.parametrize("name", sorted(set(RIGHT) - {"entropy", "error_feedback"}))
def test_numbers_of_numpy_and_texts_for_paths_are_taken(name):
    plain = a_call(name, RIGHT[name])
    numpys = {int: np.int32, float: np.float64, bool: np.bool_, str: np.str_}
    given = {key: numpys.get(type(value), lambda v: v)(value) for key, value in RIGHT[name].items()}
    found = a_call(name, given)
    assert type(found) is type(plain)
    if hasattr(plain, "name"):
        assert found.name == plain.name
    if isinstance(found, hr.LocalTraining | hr.Budget):
        assert repr(found) == repr(plain)
        assert found == plain
    paths = {
        key: Path(RIGHT[name][key])
        for key, hint in takes(name).items()
        if "Path" in str(hint) and RIGHT[name].get(key)
    }
    a_call(name, {**RIGHT[name], **paths})


@pytest.mark.parametrize("name", sorted(set(RIGHT) - {"chain", "entropy", "error_feedback"}))
def test_an_unknown_keyword_is_named(name):
    with pytest.raises((TypeError, ValueError), match="'no_such_thing'") as caught:
        a_call(name, {**RIGHT[name], "no_such_thing": 1})
    if set(RIGHT[name]) - {"name_or_path"} and name not in MANY_A_ROUND:
        assert repr(next(iter(RIGHT[name]))) in str(caught.value)
