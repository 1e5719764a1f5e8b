"""The user's own CSV files: what is read, and what each bad cell says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hedgerow.datasets import (
    DataFileError,
    from_csv,
    load_dataset,
    natural,
)
from tests.data.own_files import ROWS, changed, write_csv


def test_a_csv_file_becomes_features_classes_and_clients(tmp_path: Path) -> None:
    d = load_dataset(write_csv(tmp_path / "people.csv", ROWS), label="ill", client="who", test=0.25)
    assert d.classes == ("no", "yes")
    assert d.clients == ("clinic 0", "clinic 1", "clinic 2")
    assert d.split(natural()).sizes().tolist() == [3, 3, 3]
    assert len(d.test) == 3
    both = np.concatenate([d.train.x, d.test.x])
    assert np.array_equal(
        both[both[:, 0].argsort()], np.float32([[20 + k, 1.5 + k / 100] for k in range(12)])
    )
    assert both.dtype == np.float32
    for x, y in zip(d.train.x, d.train.y, strict=True):
        assert y == x[0] % 2
    for x, who in zip(d.train.x, d.natural, strict=True):
        assert who == (x[0] - 20) % 3


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text + "\n",
        lambda text: text + "\n\n\n",
        lambda text: text.replace("\n", "\r\n") + "\r\n",
        lambda text: text.replace("\n", "\n\n"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: text.replace(",", " , "),
        lambda text: "\n" + text.replace(",", ";"),
        lambda text: text + " \n , ,,\n",
        lambda text: text.replace(",", ";").replace("height", "height, m"),
        lambda text: text.replace(",", ";").replace("height", '"height, m"'),
        lambda text: text.replace("yes", '"yes"').replace(",", ", "),
        lambda text: text.replace(",", ";").replace("\n", "\r"),
        lambda text: "".join(
            f"{k - 1 if k else 'Unnamed: 0.1'},{k - 1 if k else 'Unnamed: 0'},{row}\n"
            for k, row in enumerate(text.splitlines())
        ),
        lambda text: "".join(f"{k - 1 if k else ''},{row}\n" for k, row in enumerate(text.splitlines())),
        lambda text: "".join(f"{7 * k or 'Unnamed: 0'},{r}\n" for k, r in enumerate(text.splitlines())),
    ],
)
def test_a_csv_file_is_the_same_whichever_program_wrote_it(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    file = write_csv(tmp_path / "people.csv", ROWS)
    plain = from_csv(file, label="ill", client="who", test=0.3)
    file.write_bytes(change(file.read_text(encoding="utf-8")).encode())
    same = from_csv(file, label="ill", client="who", test=0.3)
    assert np.array_equal(same.train.x, plain.train.x)
    assert np.array_equal(same.train.y, plain.train.y)
    assert (same.classes, same.clients) == (plain.classes, plain.clients)


def test_rows_are_counted_with_the_empty_ones(tmp_path: Path) -> None:
    rows = [*ROWS[:3], (), (), ("x", "clinic 1", "1.5", "no"), *ROWS[3:]]
    with pytest.raises(DataFileError, match=r"people\.csv, row 6: column 'age' is 'x'"):
        from_csv(write_csv(tmp_path / "people.csv", rows), label="ill", client="who")


def test_decimal_commas_are_named(tmp_path: Path) -> None:
    (tmp_path / "komma.csv").write_text("a;ill\n1,5;no\n2,5;yes\n", encoding="utf-8")
    with pytest.raises(DataFileError, match=r"row 2: column 'a' is '1,5'; .*; write decimals with a point"):
        from_csv(tmp_path / "komma.csv", label="ill")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            ["1,5", "2,75", "3,25"],
            r"row 2: column 'ill' is '1,5'; write decimals with a point, or say task",
        ),
        (["1", "2,5", "3"], r"row 3: column 'ill' is '2,5'; write decimals with a point"),
        (["0.5", "inf", "2.25"], r"row 3: column 'ill' is 'inf'; it must be a finite number"),
        (["0.5", "2.25", "1e400"], r"row 4: column 'ill' is '1e400'; it must be a finite number"),
    ],
)
def test_numbers_to_predict_that_cannot_be_read_are_no_names_of_classes(
    tmp_path: Path, written: list[str], said: str
) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("a;ill\n" + "".join(f"{k};{w}\n" for k, w in enumerate(written * 4)), encoding="utf-8")
    with pytest.raises(DataFileError, match=said):
        from_csv(file, label="ill")
    assert len(from_csv(file, label="ill", task="classification").classes) == 3


def test_a_last_column_without_name_and_values_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,ill,\n1,no,\n2,yes,\n", encoding="utf-8")
    with pytest.raises(DataFileError, match=r"has a column without a name \(''\); name it, or leave it out"):
        from_csv(tmp_path / "t.csv", label="ill")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_csv_file_in_another_encoding_says_what_to_do(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "other.csv").write_bytes("größe,ill\n1,no\n".encode(encoding))
    with pytest.raises(
        DataFileError, match=r"other\.csv cannot be read as CSV in UTF-8 .*; save it as UTF-8"
    ):
        from_csv(tmp_path / "other.csv", label="ill")


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    rows = [("a", "b"), *((str(k), str(9 + k % 3)) for k in range(9))]
    assert from_csv(write_csv(tmp_path / "t.csv", rows), label="b").classes == ("9", "10", "11")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(4, 2, "tall"), r"people\.csv, row 4: column 'height' is 'tall'; it must be a finite number"),
        (changed(13, 0, "nan"), r"people\.csv, row 13: column 'age' is 'nan'"),
        (changed(2, 0, "-inf"), r"people\.csv, row 2: column 'age' is '-inf'"),
        (changed(2, 0, "1e39"), r"people\.csv, row 2: column 'age' is '1e39'"),
        (changed(7, 2, ""), r"people\.csv, row 7: column 'height' is empty"),
        (changed(8, 3, " "), r"people\.csv, row 8: column 'ill' is empty"),
        (changed(9, 1, ""), r"people\.csv, row 9: column 'who' is empty"),
        ([*ROWS, ("1", "2")], r"people\.csv, row 14 has 2 cells; the first row has 4"),
        ([*ROWS[:4], (), *ROWS[4:8], ("x",)], r"people\.csv, row 10 has 1 cells"),
        (changed(1, 3, "il"), r"people\.csv has no column 'ill'; it has 'age', .* Did you mean 'il'\?"),
        (changed(1, 1, "client"), r"people\.csv has no column 'who'"),
        (changed(1, 0, "height"), r"people\.csv has two columns 'height'"),
        ([("who", "ill"), ("a", "b")], "has no column besides the label and the client"),
        (ROWS[:1], r"people\.csv has no row of data"),
        ([], r"people\.csv has no column 'ill'; it has none"),
        ([("age", "who", "ill"), ("3", '"x', "y")], r"people\.csv cannot be read as CSV"),
    ],
)
def test_a_bad_cell_is_one_error_that_names_file_row_and_column(
    tmp_path: Path, rows: list[tuple[str, ...]], message: str
) -> None:
    with pytest.raises(DataFileError, match=message):
        from_csv(write_csv(tmp_path / "people.csv", rows), label="ill", client="who")


def test_a_csv_file_in_another_encoding_or_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("größe,ill\n1,no\n".encode("latin-1"))
    with pytest.raises(DataFileError, match=r"latin\.csv cannot be read as CSV in UTF-8"):
        from_csv(tmp_path / "latin.csv", label="ill")
    with pytest.raises(DataFileError, match=r"absent\.csv cannot be read"):
        load_dataset(tmp_path / "absent.csv", label="ill")


def test_a_class_of_one_row_is_refused_by_name(tmp_path: Path) -> None:
    rows = [(r[0], r[2], r[3]) for r in changed(7, 3, "maybe")]
    with pytest.raises(DataFileError, match=r"people\.csv: class 'maybe' has 1 sample \(row 5\)"):
        from_csv(write_csv(tmp_path / "people.csv", rows), label="ill")
