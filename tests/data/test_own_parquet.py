"""The user's own Parquet files: what is read, and what each bad value says."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from hedgerow.datasets import (
    DataFileError,
    from_csv,
    from_parquet,
    load_dataset,
)
from tests.data.own_files import ROWS, write_csv

pyarrow = pytest.importorskip("pyarrow")

parquet = pytest.importorskip("pyarrow.parquet")


def test_the_row_numbers_of_pandas_are_no_feature_and_the_data_set_says_so(tmp_path: Path) -> None:
    frame = pandas.DataFrame(ROWS[1:], columns=list(ROWS[0])).astype({"age": int, "height": float})
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "people.csv")
    d = load_dataset(tmp_path / "people.csv", label="ill", client="who", test=0.3)
    assert (d.input_shape, d.note) == ((2,), "column '', the number of the row, is left out")
    shuffled = frame.sample(frac=1, random_state=0)
    shuffled.to_parquet(tmp_path / "people.parquet")
    p = load_dataset(tmp_path / "people.parquet", label="ill", client="who", test=0.3)
    assert (p.input_shape, p.note) == ((2,), "column '__index_level_0__', the number of the row, is left out")
    unnamed = [("", "height", "ill"), *((f"{k / 2}", "1", "yes") for k in range(9))]
    with pytest.raises(DataFileError, match=r"odd\.csv has a column without a name \(''\); name it"):
        from_csv(write_csv(tmp_path / "odd.csv", unnamed), label="ill")


def table(**columns: Any) -> Any:
    plain: dict[str, Any] = {
        "age": [20 + k for k in range(12)],
        "height": [1.5 + k / 100 for k in range(12)],
        "smokes": [k % 4 == 0 for k in range(12)],
        "who": [f"clinic {k % 3}" for k in range(12)],
        "ill": [k % 2 for k in range(12)],
    }
    return pyarrow.table({**plain, **columns})


def test_a_parquet_file_gives_what_the_same_csv_file_gives(tmp_path: Path) -> None:
    parquet.write_table(table(), tmp_path / "people.parquet")
    d = load_dataset(tmp_path / "people.parquet", label="ill", client="who", test=0.25)
    plain = [("age", "height", "smokes", "who", "ill")] + [
        tuple(str(int(v) if isinstance(v, bool) else v) for v in row.values()) for row in table().to_pylist()
    ]
    same = from_csv(write_csv(tmp_path / "people.csv", plain), label="ill", client="who", test=0.25)
    assert np.array_equal(d.train.x, same.train.x)
    assert np.array_equal(d.train.y, same.train.y)
    assert np.array_equal(d.natural, same.natural)
    assert (d.classes, d.clients) == (same.classes, same.clients) == (("0", "1"), same.clients)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": [*range(11), None]}, r"people\.parquet, row 11 \(from 0\): column 'age' is empty"),
        ({"height": [*[1.0] * 4, float("nan"), *[1.0] * 7]}, r"row 4 \(from 0\): column 'height' is nan"),
        ({"height": [*[1.0] * 4, 1e300, *[1.0] * 7]}, r"row 4 \(from 0\): column 'height' is 1e\+300"),
        ({"age": ["old"] * 12}, r"people\.parquet: column 'age' has the type string; it must be numbers"),
        ({"ill": [None] * 2 + [1] * 10}, r"row 0 \(from 0\): column 'ill' is empty"),
    ],
)
def test_a_bad_parquet_value_is_one_error_that_names_it(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    parquet.write_table(table(**columns), tmp_path / "people.parquet")
    with pytest.raises(DataFileError, match=message):
        from_parquet(tmp_path / "people.parquet", label="ill", client="who")


def test_a_broken_parquet_file_and_a_missing_column_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataFileError, match=r"bad\.parquet cannot be read as Parquet"):
        from_parquet(tmp_path / "bad.parquet", label="ill")
    parquet.write_table(table(), tmp_path / "people.parquet")
    with pytest.raises(DataFileError, match=r"has no column 'hight'; .* Did you mean 'height'"):
        from_parquet(tmp_path / "people.parquet", label="hight")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write_table(table(), tmp_path / "people.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "hedgerow\[parquet\]"'):
        from_parquet(tmp_path / "people.parquet", label="ill")
