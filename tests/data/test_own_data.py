"""The user's own data: what is read, and what each bad file says."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from hedgerow.datasets import (
    DataFileError,
    from_arrays,
    from_csv,
    from_npz,
    from_parquet,
    load_dataset,
    natural,
)

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def pictures(count: int, size: tuple[int, int] = (4, 3), seed: int = 0) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (size[1], size[0]), np.uint8)) for _ in range(count)]


def fill(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    for k, picture in enumerate(pictures(count, seed=seed)):
        picture.save(folder / f"{k}.png")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    fill(tmp_path / "album" / "cat", 5, 1)
    fill(tmp_path / "album" / "dog", 10, 2)
    return tmp_path / "album"


def test_a_folder_of_class_folders_is_read_and_a_fifth_held_out(album: Path) -> None:
    (album / ".hidden").write_text("passed over")
    d = load_dataset(album)
    assert (d.name, d.classes) == ("album", ("cat", "dog"))
    assert np.bincount(d.train.y).tolist() == [4, 8]
    assert np.bincount(d.test.y).tolist() == [1, 2]
    assert d.train.x.shape == (12, 1, 3, 4)
    found = {(x * 255).round().astype(np.uint8).tobytes() for part in (d.train, d.test) for x in part.x}
    assert found == {p.tobytes() for p in (*pictures(5, seed=1), *pictures(10, seed=2))}
    again = load_dataset(str(album))
    assert np.array_equal(d.train.x, again.train.x)
    assert not np.array_equal(d.train.x, load_dataset(album, seed=1).train.x)


def test_a_folder_with_train_and_test_holds_nothing_out(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "cat", 2)
    fill(tmp_path / "train" / "dog", 1)
    fill(tmp_path / "test" / "dog", 3)
    d = load_dataset(tmp_path)
    assert (len(d.train), d.test.y.tolist()) == (3, [1, 1, 1])


def test_one_coloured_picture_makes_all_coloured(album: Path) -> None:
    Image.new("RGBA", (4, 3), (255, 0, 51, 7)).save(album / "cat" / "red.png")
    d = load_dataset(album)
    assert d.input_shape == (3, 3, 4)
    reds = [x for part in (d.train, d.test) for x in part.x if (x[0] == 1).all() and (x[1] == 0).all()]
    assert len(reds) == 1
    assert np.allclose(reds[0][2], 0.2)


def broken(album: Path) -> None:
    good = (album / "cat" / "0.png").read_bytes()
    (album / "cat" / "bad.png").write_bytes(good[: len(good) // 2])


def other_size(album: Path) -> None:
    pictures(1, (5, 3))[0].save(album / "dog" / "wide.png")


def no_picture(album: Path) -> None:
    (album / "dog" / "notes.txt").write_text("not a picture")


def deep(album: Path) -> None:
    Image.fromarray(np.full((3, 4), 40_000, np.uint16)).save(album / "cat" / "deep.png")


def loose(album: Path) -> None:
    pictures(1)[0].save(album / "loose.png")


def empty_class(album: Path) -> None:
    (album / "eel").mkdir()


def class_of_one(album: Path) -> None:
    fill(album / "eel", 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (broken, r"cat/bad\.png is not a picture that can be read"),
        (
            other_size,
            r"dog/wide\.png has 5 x 3 pixels and .*cat/0\.png has 4 x 3; all pictures must have the same",
        ),
        (no_picture, r"dog/notes\.txt is not a picture that can be read"),
        (deep, r"cat/deep\.png has more than 8 bits a pixel"),
        (loose, r"loose\.png lies beside the folders of the classes"),
        (empty_class, r"eel is empty; a class needs at least one picture"),
        (class_of_one, r"album: class 'eel' has 1 sample .* add samples"),
    ],
)
def test_a_bad_picture_is_one_error_that_names_it(
    album: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(album)
    with pytest.raises(DataFileError, match=message):
        load_dataset(album)


def test_an_empty_folder_and_an_unknown_test_class_are_refused(album: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataFileError, match="nothing is empty; it must hold one folder of pictures for each"):
        load_dataset(tmp_path / "nothing")
    fill(tmp_path / "both" / "train" / "cat", 2)
    fill(tmp_path / "both" / "test" / "cow", 2)
    with pytest.raises(DataFileError, match=r"test/cow is a class that the training pictures do not have"):
        load_dataset(tmp_path / "both")


ROWS = [("age", "who", "height", "ill")] + [
    (str(20 + k), f"clinic {k % 3}", f"{1.5 + k / 100:.2f}", "yes" if k % 2 else "no") for k in range(12)
]


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def changed(row: int, column: int, value: str) -> list[tuple[str, ...]]:
    """The rows with one cell changed; row 1 is the names."""
    rows = [list(r) for r in ROWS]
    rows[row - 1][column] = value
    return [tuple(r) for r in rows]


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


def test_decimal_commas_are_named(tmp_path: Path) -> None:
    (tmp_path / "komma.csv").write_text("a;ill\n1,5;no\n2,5;yes\n", encoding="utf-8")
    with pytest.raises(DataFileError, match=r"row 2: column 'a' is '1,5'; .*; write decimals with a point"):
        from_csv(tmp_path / "komma.csv", label="ill")


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
        ([*ROWS[:4], (), *ROWS[4:8], (" ",)], r"people\.csv, row 10 has 1 cells"),
        (changed(1, 3, "il"), r"people\.csv has no column 'ill'; it has 'age', .* Did you mean 'il'\?"),
        (changed(1, 1, "client"), r"people\.csv has no column 'who'"),
        (changed(1, 0, "height"), r"people\.csv has two columns 'height'"),
        ([("who", "ill"), ("a", "b")], "has no column beside the label and the client"),
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
    with pytest.raises(ValueError, match=r"test y row 0 is v, which is none of the 2 classes \('t', 'u'\)"):
        from_arrays(x, ["u", "t", "u", "t"], test=(x[:1], ["v"]))
    with pytest.raises(ValueError, match="y row 1 is 3, which is none of the 3 classes"):
        from_arrays(x, [0, 3, 0, -1], classes=["a", "b", "c"], test=(x, [1] * 4))


def test_each_client_keeps_samples_to_train_on() -> None:
    owners = [0] * 7 + [1] * 1 + [2] * 10
    d = from_arrays(np.arange(18.0)[:, None], [0, 1] * 9, clients=owners, test=0.3)
    assert np.bincount(d.natural).tolist() == [5, 1, 7]
    assert len(d.test) == 5
    assert not set(d.train.x.ravel()) & set(d.test.x.ravel())
    with pytest.raises(ValueError, match="holds nothing out: no client has 20 samples"):
        from_arrays(np.zeros((18, 1)), [0, 1] * 9, clients=owners, test=0.05)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_held_out_fraction_is_between_zero_and_one(fraction: float) -> None:
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
    with pytest.raises(ValueError, match=r"t\.txt is no data set; give a folder of pictures, or a \.npz"):
        load_dataset(tmp_path / "t.txt")
