"""The user's own arrays and .npz files: what is read, and what each bad one says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow.datasets import (
    DataFileError,
    from_arrays,
    from_npz,
    load_dataset,
    natural,
)
from tests.data.own_files import ROWS, write_csv


def test_an_npz_file_is_read_with_or_without_a_test_part(tmp_path: Path) -> None:
    x, y = np.arange(240, dtype=np.uint8).reshape(20, 3, 4), np.arange(20) % 2
    np.savez(tmp_path / "one.npz", x=x, y=y, clients=np.arange(20) // 5)
    d = load_dataset(tmp_path / "one.npz", classes=["even", "odd"])
    assert (d.input_shape, d.classes, d.clients) == ((1, 3, 4), ("even", "odd"), ("0", "1", "2", "3"))
    assert d.split(natural()).sizes().tolist() == [4, 4, 4, 4]
    np.savez(tmp_path / "two.npz", x_train=x, y_train=y, x_test=x[:3], y_test=y[:3])
    two = load_dataset(tmp_path / "two.npz")
    assert np.array_equal(two.train.x, x[:, None].astype(np.float32) / np.float32(255))
    assert two.test.y.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((4, 2))}, r"own\.npz misses 'y'; it holds 'x'"),
        ({"x_train": np.ones((4, 2)), "y": [0] * 4}, "misses 'y_train', 'x_test', 'y_test'"),
        ({"x": np.ones((4, 2)), "y": [0, 1, 0]}, r"own\.npz: y has the shape \(3,\); it must be \(4,\)"),
        (
            {"x": [[1.0], [np.nan]] * 2, "y": [0, 0, 1, 1]},
            r"own\.npz: x row 1 holds a value that is not a finite",
        ),
        ({"x": [[1.0], [1e39]] * 2, "y": [0, 0, 1, 1]}, r"own\.npz: x row 1 holds"),
        ({"x": np.ones((4, 2)), "y": [1j] * 4}, r"own\.npz: y has the type complex128; it must be whole"),
        ({"x": np.ones((4, 2)), "y": [0, 1, np.nan, 1]}, r"own\.npz: y row 2 is missing"),
        ({"x": np.ones(4), "y": [0] * 4}, r"own\.npz: x has the type float64 and the shape \(4,\)"),
        ({"x": np.array([["a"]] * 4), "y": [0] * 4}, r"own\.npz: x has the type <U1"),
        ({"x": np.ones((4, 2)), "y": [0, 0, 0, 1]}, r"own\.npz: class '1' has 1 sample \(row 3\)"),
        (
            {"x": np.zeros((4, 28, 28, 3), np.uint8), "y": [0] * 4},
            r"own\.npz: .* Use x\.transpose\(0, 3, 1, 2\)",
        ),
        ({"x": np.ones((4, 2)), "y": [0] * 4, "clients": [1, 2]}, r"own\.npz: clients has the shape \(2,\)"),
        ({"x": np.array([{}] * 4, object), "y": [0] * 4}, r"own\.npz cannot be read .* plain arrays"),
    ],
)
def test_a_bad_npz_file_is_one_error_that_names_it(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    with pytest.raises(DataFileError, match=message):
        from_npz(tmp_path / "own.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 cut short", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_npz_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(DataFileError, match=r"own\.npz cannot be read as a \.npz file"):
        from_npz(tmp_path / "own.npz")


def test_arrays_keep_their_kind() -> None:
    y = [0, 1] * 5
    assert from_arrays(np.zeros((10, 80), np.int32), y).train.x.dtype == np.int64
    assert from_arrays(np.zeros((10, 4)), y).train.x.dtype == np.float32
    assert from_arrays(np.full((10, 1, 2, 2), 51, np.uint8), y).train.x.max() == np.float32(0.2)


def test_labels_are_numbers_of_the_given_classes_or_names() -> None:
    x = np.zeros((4, 1))
    assert from_arrays(x, [2, 0, 2, 0], classes=["a", "b", "c"], test=(x, [1] * 4)).train.y.tolist() == [
        2,
        0,
        2,
        0,
    ]
    d = from_arrays(x, ["u", "t", "u", "t"], test=(x[:1], ["t"]))
    assert (d.classes, d.train.y.tolist(), d.test.y.tolist()) == (("t", "u"), [1, 0, 1, 0], [0])
    with pytest.raises(
        ValueError, match=r"test y row 0 is v, which is not one of the 2 classes \('t', 'u'\)"
    ):
        from_arrays(x, ["u", "t", "u", "t"], test=(x[:1], ["v"]))
    with pytest.raises(ValueError, match="y row 1 is 3, which is not one of the 3 classes"):
        from_arrays(x, [0, 3, 0, -1], classes=["a", "b", "c"], test=(x, [1] * 4))


def test_each_client_keeps_samples_to_train_on() -> None:
    owners = [0] * 7 + [1] * 1 + [2] * 10
    d = from_arrays(np.arange(18.0)[:, None], [0, 1] * 9, clients=owners, test=0.3)
    assert np.bincount(d.natural).tolist() == [5, 1, 7]
    assert len(d.test) == 5
    assert not set(d.train.x.ravel()) & set(d.test.x.ravel())
    with pytest.raises(ValueError, match="holds nothing out: no client has 20 samples"):
        from_arrays(np.zeros((18, 1)), [0, 1] * 9, clients=owners, test=0.05)


@pytest.mark.parametrize("fraction", [1, -0.1, float("nan")])
def test_a_held_out_fraction_is_at_least_zero_and_below_one(fraction: float) -> None:
    with pytest.raises(ValueError, match="test is "):
        from_arrays(np.zeros((4, 1)), [0, 1, 0, 1], test=fraction)


def test_an_unknown_name_path_or_option_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data set 'fashon-mnist'; .*Did you mean 'fashion-mnist'\?"):
        load_dataset("fashon-mnist")
    with pytest.raises(
        ValueError, match=r"'stepp' is not an option of 'shakespeare'; allowed: 'step'\. Did you"
    ):
        load_dataset("shakespeare", stepp=1)
    with pytest.raises(ValueError, match="'path' is not an option of"):
        load_dataset(write_csv(tmp_path / "t.csv", ROWS), label="ill", path="x")
    (tmp_path / "t.txt").write_text("x")
    with pytest.raises(ValueError, match=r"t\.txt is not a data set; give a folder of pictures, or a \.npz"):
        load_dataset(tmp_path / "t.txt")
