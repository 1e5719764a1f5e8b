"""What `y` means: whole numbers stay what they are, texts are names, numbers to predict are no classes."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import hedgerow as hr
from hedgerow.datasets import DataFileError, Dataset, from_arrays, from_csv, from_npz
from hedgerow.experiments.config.recipe import load_table

X = np.zeros((12, 2), np.float32)


def made(y: Any, **options: Any) -> Dataset:
    return from_arrays(np.arange(2.0 * len(y)).reshape(-1, 2), y, test=0.3, **options)


def labels(data: Dataset) -> set[Any]:
    """All labels, of the training and of the test samples."""
    return set(data.train.y.tolist()) | set(data.test.y.tolist())


@given(st.sets(st.integers(0, 200), min_size=1, max_size=12))
def test_whole_numbers_are_kept_as_they_are(values: set[int]) -> None:
    data = made(sorted(values) * 4)
    assert labels(data) == values
    assert data.task == "classification"
    assert data.train.y.dtype == np.int64
    assert data.classes == tuple(map(str, range(max(values) + 1)))


def test_targets_share_the_alphabet_of_their_inputs() -> None:
    """A next-character task of which the text uses the codes 5 and 9 only."""
    text = np.array([5, 9] * 20)
    data = from_arrays(np.stack([text[:-1], text[:-1]], 1), text[1:], classes=10)
    assert labels(data) == {5, 9}
    assert (data.num_classes, data.train.x.dtype) == (10, np.int64)
    followed = {(x[0], y) for x, y in zip(data.train.x.tolist(), data.train.y.tolist(), strict=True)}
    assert followed == {(5, 9), (9, 5)}


def test_codes_of_a_large_alphabet_are_classes_however_few_samples_there_are() -> None:
    words = np.arange(60)
    given_test = (words[:, None], words)
    data = from_arrays(words[:, None], words, test=given_test)
    assert (data.task, data.num_classes) == ("classification", 60)
    assert from_arrays(words[:, None] / 2, words, test=(words[:, None] / 2, words)).task == "regression"


@pytest.mark.parametrize(
    "y",
    [
        [-1, 1] * 6,
        [3_000_000_000, 5_000_000_000] * 6,
        np.array([2**63 + 1, 0] * 6, np.uint64),
        [2**70, 0] * 6,
        np.array([1e300, 0.0] * 6),
        [0, 1002] * 6,
    ],
)
def test_whole_numbers_that_cannot_be_classes_are_refused_with_the_remedies(y: Any) -> None:
    with pytest.raises(ValueError, match=r"y holds 2 different numbers.*astype\(str\).*task='regression'"):
        made(y)
    with_names = made([str(value) for value in np.asarray(y).tolist()])
    assert with_names.num_classes == 2
    assert labels(with_names) == {0, 1}
    assert made([0, 1001] * 6).num_classes == 1002


def test_a_number_of_classes_or_their_names_may_be_given() -> None:
    assert made([5, 9] * 6, classes=80).num_classes == 80
    assert made([1, 0] * 6, classes=["cat", "dog"]).classes == ("cat", "dog")
    with pytest.raises(ValueError, match=r"y row 1 is 9, which is not one of the 9 classes"):
        made([5, 9] * 6, classes=9)
    for wrong in ([5, 9], "ab", [], ["a", "a"]):
        with pytest.raises(ValueError, match=r"it must be distinct texts, or the number of classes"):
            made([5, 9] * 6, classes=wrong)


@pytest.mark.parametrize(
    ("y", "classes", "found"),
    [
        (pandas.Series(["no", "yes"] * 6), ("no", "yes"), {0, 1}),
        (pandas.Series(["no", "yes"] * 6, dtype="string"), ("no", "yes"), {0, 1}),
        (pandas.Series(["no", "yes"] * 6, dtype=object), ("no", "yes"), {0, 1}),
        (pandas.Series(["no", "yes"] * 6, dtype="category"), ("no", "yes"), {0, 1}),
        (pandas.Series([2, 0] * 6, dtype="category"), ("0", "1", "2"), {0, 2}),
        (pandas.Series([2, 0] * 6, dtype="Int64"), ("0", "1", "2"), {0, 2}),
        (pandas.Series([True, False] * 6, dtype="boolean"), ("False", "True"), {0, 1}),
        (np.array(["no", "yes"] * 6, np.dtypes.StringDType()), ("no", "yes"), {0, 1}),
        (np.array(["no", "yes"] * 6, object), ("no", "yes"), {0, 1}),
        (torch.tensor([2, 0] * 6), ("0", "1", "2"), {0, 2}),
        (torch.tensor([2.0, 0.0] * 6, requires_grad=True), ("0", "1", "2"), {0, 2}),
        ([True] * 12, ("False", "True"), {1}),
        ([2.0, 0.0] * 6, ("0", "1", "2"), {0, 2}),
    ],
)
def test_labels_of_every_kind_are_understood(y: Any, classes: tuple[str, ...], found: set[int]) -> None:
    data = made(y)
    assert data.classes == classes
    assert labels(data) == found


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, None, 1] * 3, "y row 2 is missing"),
        (["a", "b", float("nan"), "a"] * 3, "y row 2 is missing"),
        ([0.5, float("nan")] * 6, "y row 1 is missing"),
        (pandas.Series([1, None, 0] * 4, dtype="Int64"), "y row 1 is missing"),
        (pandas.Series(["a", None, "b"] * 4, dtype="string"), "y row 1 is missing"),
        (pandas.Series(["a", None, "b"] * 4, dtype="category"), "y row 1 is missing"),
        (np.ma.masked_array([0, 1, 2] * 4, [0, 0, 1] * 4), "y row 2 is missing"),
        ([0.5, float("inf")] * 6, "y row 1 is infinite"),
        (
            [date(2020, 1, 2)] * 12,
            r"y row 0 is datetime.date\(2020, 1, 2\), of the type date; each must",
        ),
        (["a", 1] * 6, r"y row 1 is 1, of the type int, and row 0 is 'a'"),
        ([b"a", b"b"] * 6, r"y has the type \|S1"),
        ([1e39, 0.5] * 6, "y row 0 is 1e\\+39; it must be a number that float32 can hold"),
    ],
)
def test_a_target_that_is_missing_or_of_another_kind_is_named(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(y)


@pytest.mark.parametrize("owner", [None, float("nan"), ""])
def test_an_owner_that_is_missing_is_refused_by_row(owner: Any) -> None:
    with pytest.raises(ValueError, match=r"clients row 2 is (missing|empty)"):
        made([0, 1] * 6, clients=["a", "b", owner, "a", *"abababab"])
    assert made([0, 1] * 6, clients=[1.0, 2.0] * 6).clients == ("1", "2")


def test_numbers_to_predict_are_targets_and_no_classes() -> None:
    y = np.linspace(-3.0, 8.0, 40)
    data = made(y)
    assert (data.task, data.classes, data.num_classes, data.num_outputs) == ("regression", (), 0, 1)
    assert data.train.y.dtype == data.test.y.dtype == np.float32
    assert labels(data) == set(y.astype(np.float32).tolist())
    assert len(data.test) == 12
    assert made(np.arange(1000, 1040)).task == "regression"
    assert made([1, 2, 3] * 20, task="regression").task == "regression"
    with pytest.raises(ValueError, match="y holds 40 different numbers, from -3"):
        made(y, task="classification")
    with pytest.raises(ValueError, match=r"y row 1 is 0\.5, which is not one of the 1 classes"):
        made([0, 0.5] * 6, task="classification")
    with pytest.raises(ValueError, match="classes is 3; numbers to predict have no classes"):
        made(y, task="regression", classes=3)
    with pytest.raises(ValueError, match=r"y row 0 is 'a'; with task='regression' it must be a number"):
        made(["a", "b"] * 6, task="regression")
    with pytest.raises(ValueError, match=r"task is 'regresion'; .* Did you mean 'regression'\?"):
        made(y, task="regresion")


def test_targets_are_dealt_by_tenths() -> None:
    data = from_arrays(np.zeros((400, 1)), np.arange(400) / 7, test=0.25)
    names, place = data.strata()
    assert len(names) == 10
    assert set(np.bincount(place).tolist()) <= {29, 30, 31}
    assert (np.diff(place[np.argsort(data.train.y)]) >= 0).all()
    federation = data.split(hr.dirichlet(clients=4, alpha=0.1), seed=1)
    counts = federation.counts()
    assert counts.sum() == 300
    assert counts.max() > 20, "small alpha: some tenth lies mostly with one client"
    few = from_arrays(np.zeros((40, 1)), [0.5, 2.0] * 20)
    assert few.strata()[0] == ("0.5 to 0.5", "2 to 2")


def csv(folder: Path, y: list[str]) -> Path:
    text = "a,b,y\n" + "".join(f"{k % 7},{k % 5},{value}\n" for k, value in enumerate(y))
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return folder / "t.csv"


def test_a_column_of_numbers_is_a_target_and_not_so_many_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    prices = [f"{price:.2f}" for price in random.normal(250_000, 50_000, 900)]
    data = from_csv(csv(tmp_path, prices), label="y")
    assert (data.task, data.num_classes) == ("regression", 0)
    assert labels(data) == {np.float32(price).item() for price in prices}
    whole = [str(int(float(price))) for price in prices]
    assert from_csv(csv(tmp_path, whole), label="y").task == "regression"
    rated = from_csv(csv(tmp_path, ["5", "9", "-1"] * 20), label="y")
    assert rated.classes == ("-1", "5", "9")
    assert from_csv(csv(tmp_path, ["5", "9", "-1"] * 20), label="y", task="regression").task == "regression"
    with pytest.raises(ValueError, match=r"task is 'regresion'; .* Did you mean 'regression'\?"):
        from_csv(csv(tmp_path, prices), label="y", task="regresion")
    unknown = from_csv(csv(tmp_path, ["1", "2", "?"] * 20), label="y", task="classification")
    assert unknown.classes == ("1", "2", "?")
    named = from_csv(csv(tmp_path, ["0.5", "1.5"] * 20), label="y", task="classification")
    assert named.classes == ("0.5", "1.5")
    assert from_csv(csv(tmp_path, ["1", "1.0", "2.0", "2"] * 9), label="y").classes == ("1", "2")


def test_a_number_that_is_missing_is_no_class(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"t\.csv, row 4: column 'y' is 'NA'; it must be a finite number"):
        from_csv(csv(tmp_path, ["1", "2", "NA", *["1", "2"] * 9]), label="y")
    with pytest.raises(
        DataFileError, match=r"t\.csv, row 3: column 'y' is 'tall'; it must be a finite number"
    ):
        from_csv(csv(tmp_path, ["1.5", "tall"]), label="y", task="regression")
    with pytest.raises(DataFileError, match=r"class '7' has 1 sample .* say task='regression'"):
        from_csv(csv(tmp_path, ["1", "2", "1", "2", "7"]), label="y")


def test_an_npz_file_says_what_its_targets_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=X, y=[5, 9] * 6)
    assert from_npz(tmp_path / "own.npz", task="regression").task == "regression"
    assert from_npz(tmp_path / "own.npz", classes=10).num_classes == 10


def regression(file: Path, **more: Any) -> Any:
    return load_table(
        {
            "name": "prices", "rounds": 12,
            "data": {"name": str(file), "label": "y", "partition": {"name": "iid", "clients": 3}},
            "model": {"name": "logistic"},
            "strategy": {"clients_per_round": 3},
            "local": {"learning_rate": 0.02, "epochs": 6},
            **more,
        }
    )  # fmt: skip


def test_a_recipe_with_numbers_to_predict_learns_them(tmp_path: Path) -> None:
    experiment = regression(csv(tmp_path, [f"{0.5 * (k % 7) - (k % 5) + 1.25}" for k in range(140)]))
    task, federation, strategy = experiment.task(), experiment.federation(), experiment.strategy()
    assert [tuple(p.shape) for p in task.model().parameters()] == [(1, 2), (1,)]
    found = {}
    for trainer in ("loop", "batch"):
        results = hr.simulate(
            task, federation, strategy, rounds=12, test=federation.dataset.test, trainer=trainer
        )
        found[trainer] = [result.evaluation for result in results]
    assert found["loop"][-1].keys() == {"loss", "mae"}
    assert found["loop"][-1]["mae"] < 0.1 < found["loop"][0]["mae"]
    assert found["batch"][-1]["loss"] == pytest.approx(found["loop"][-1]["loss"], rel=1e-3)


def test_an_accuracy_to_reach_is_refused_where_there_is_none(tmp_path: Path) -> None:
    file = csv(tmp_path, [str(k / 3) for k in range(60)])
    with pytest.raises(ValueError, match=r"target_accuracy is 0\.7; it must be left out: 't' is a regr"):
        regression(file, evaluation={"target_accuracy": 0.7}).task()


def test_one_number_for_each_sample_is_compared_with_its_own_target_only() -> None:
    targets = torch.tensor([1.0, 2.0, 3.0])
    assert hr.squared_error(targets[:, None], targets).item() == 0
    assert hr.absolute_error(targets[:, None], targets).tolist() == [0, 0, 0]
    assert hr.squared_error(targets + 1, targets[:, None]).item() == 1
    assert hr.absolute_error(targets[:, None] + 1, targets[:, None]).tolist() == [1, 1, 1]
    task = hr.Task(lambda: nn.Linear(2, 2), loss=hr.squared_error, metrics={})
    data = made(np.linspace(0, 1, 12))
    trainer = hr.TorchTrainer(task)
    with pytest.raises(ValueError, match=r"gives \(4, 2\) for targets of shape \(4,\).* one number for each"):
        trainer.evaluate(trainer.initial(0), data.train.take(np.arange(4)))
