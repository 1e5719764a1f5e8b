"""Features that people have in their arrays and tables: what is taken, and what is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import hedgerow as hr

X = np.arange(24, dtype=np.float64).reshape(12, 2)
Y = [0, 1] * 6


def column(values: Any) -> pandas.DataFrame:
    """A column of numbers, and one of these values over and over."""
    return pandas.DataFrame({"a": X[:, 0], "b": (list(values) * 12)[:12]})


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ma.masked_array(X, X == 5), "x row 2 is missing; give a value, or leave the sample out"),
        (column([1.5, None, 2.5]).convert_dtypes(), "x row 1 is missing"),
        (column([3, "q"]), "x row 1 holds 'q'; it must be numbers: turn dates, texts and categories"),
        (column(pandas.date_range("2020", periods=12)), "x row 0 holds a Timestamp; it must be numbers"),
        (column(pandas.Categorical(["low", "high"])), "x row 0 holds 'low'; it must be numbers"),
        (np.full((12, 2), 2**63, np.uint64), "x holds 9223372036854775808; whole numbers must be at most"),
        (np.zeros((12, 0)), r"x has the type float64 and the shape \(12, 0\)"),
    ],
)
def test_features_that_are_no_numbers_are_named_with_their_row(x: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hr.from_arrays(x, Y)


@pytest.mark.parametrize(
    "x",
    [
        torch.from_numpy(X).bfloat16(),
        torch.from_numpy(X).bfloat16().requires_grad_(),
        np.ma.masked_array(X, np.zeros_like(X)),
        pandas.DataFrame(X).astype("Float64"),
        pandas.DataFrame(X).astype("object"),
        pandas.DataFrame(X).astype({0: "category"}),
    ],
)
def test_numbers_are_taken_as_any_library_holds_them(x: Any) -> None:
    held = hr.from_arrays(x, Y, test=(x, Y)).train
    assert held.x.dtype == np.float32
    assert (held.x == X).all()
    if not isinstance(x, pandas.DataFrame):
        assert (hr.Samples(x, Y).x == X).all()


def test_samples_with_a_masked_value_are_refused() -> None:
    with pytest.raises(ValueError, match="y row 3 is missing"):
        hr.Samples(X[:4], np.ma.masked_array([0, 1, 0, 1], [0, 0, 0, 1]))


def test_names_of_classes_may_be_an_array() -> None:
    made = hr.from_arrays(X, Y, classes=np.array(["no", "yes"]))
    assert [type(name) for name in made.classes] == [str, str]


def test_samples_to_train_and_to_test_on_are_of_one_type() -> None:
    train, test = hr.Samples(X, Y), hr.Samples(X.astype(int), Y)
    with pytest.raises(ValueError, match="training samples of 'ours' are float32 and the test samples int64"):
        hr.Dataset("ours", train, test, ("no", "yes"))


@pytest.mark.parametrize("partition", [hr.dirichlet(3, 0.5), hr.shards(3, 2)])
def test_samples_with_several_targets_are_dealt_without_looking_at_them(partition: Any) -> None:
    samples = hr.Samples(X, X.astype(np.float32))
    ours = hr.Dataset("ours", samples, samples, ())
    with pytest.raises(ValueError, match=r"targets of shape \(2,\).*; split with iid or quantity_skew"):
        ours.split(partition)
    assert ours.split(hr.iid(3)).sizes().tolist() == [4, 4, 4]


def test_an_ending_in_capitals_is_an_ending_too(tmp_path: Path) -> None:
    (tmp_path / "DATA.CSV").write_text("a,y\n" + "1,no\n2,yes\n" * 4, encoding="utf-8")
    assert hr.load_dataset(tmp_path / "DATA.CSV", label="y").classes == ("no", "yes")
    with pytest.raises(ValueError, match="label is None; it must be a string"):
        hr.load_dataset(tmp_path / "DATA.CSV", label=None)
