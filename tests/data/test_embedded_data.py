"""The data sets that travel with the package: their bytes, their numbers, their splits."""

import hashlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from hedgerow.datasets import (
    DATASETS,
    DataFileError,
    fashion_mnist,
    heart_disease,
    load_dataset,
    natural,
    packing,
    shakespeare,
    watch,
)
from hedgerow.datasets.packing import pack, read_embedded, unpack

MODULES = {
    "fashion-mnist": fashion_mnist,
    "watch": watch,
    "shakespeare": shakespeare,
    "heart-disease": heart_disease,
}


def digest(*arrays: np.ndarray) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()[:16]


def test_the_embedded_files_are_the_pinned_ones_and_small() -> None:
    folder = Path(str(files("hedgerow.datasets"))) / "embedded"
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    assert found == {m.FILE: m.SHA256 for m in MODULES.values()}
    assert len(found) == 4
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 6_000_000


@pytest.mark.parametrize("name", MODULES)
def test_each_names_its_source_and_licence_and_is_summed_up(name: str) -> None:
    dataset = load_dataset(name)
    assert dataset.name == name
    assert len(dataset.source) > 20
    assert dataset.licence
    assert dataset.note
    assert "embedded" in DATASETS.summary(name)
    assert f"{len(dataset.clients):,}" in DATASETS.summary(name) or not dataset.clients


@pytest.mark.parametrize("name", MODULES)
def test_loading_twice_gives_the_same_numbers(name: str) -> None:
    a, b = load_dataset(name), load_dataset(name)
    assert digest(a.train.x, a.train.y, a.test.x, a.test.y) == digest(
        b.train.x, b.train.y, b.test.x, b.test.y
    )


# Of train.x, train.y, test.x, test.y as little-endian bytes, written once.
NUMBERS = {
    "fashion-mnist": "f04498d20cf1ebe9",
    "watch": "fc56106dffcff47e",
    "shakespeare": "9fa265d5d199520c",
    "heart-disease": "5b3bd66d87f8cdcd",
}


@pytest.mark.parametrize("name", MODULES)
def test_the_numbers_are_the_committed_ones_on_every_machine(name: str) -> None:
    d = load_dataset(name)
    assert digest(d.train.x, d.train.y, d.test.x, d.test.y) == NUMBERS[name]


def test_fashion_mnist_is_balanced_and_scaled() -> None:
    d = load_dataset("fashion-mnist")
    assert d.train.x.shape == (6000, 1, 28, 28)
    assert d.test.x.shape == (1000, 1, 28, 28)
    assert d.train.x.dtype == np.float32
    assert np.bincount(d.train.y).tolist() == [600] * 10
    assert np.bincount(d.test.y).tolist() == [100] * 10
    assert (d.train.x.min(), d.train.x.max()) == (0.0, 1.0)
    assert d.natural is None
    # Trousers leave the left and the right edge empty; bags fill the middle.
    assert d.train.x[d.train.y == d.classes.index("trouser")][:, 0, :, :4].mean() < 0.01
    assert d.train.x[d.train.y == d.classes.index("bag")][:, 0, 12:20, 10:18].mean() > 0.4


def test_fashion_mnist_repeats_no_picture_between_training_and_testing() -> None:
    d = load_dataset("fashion-mnist")
    train = {x.tobytes() for x in d.train.x}
    assert len(train) > 5990
    assert not any(x.tobytes() in train for x in d.test.x)


def test_watch_has_ten_people_and_seven_exercises() -> None:
    d = load_dataset("watch")
    assert d.train.x.shape == (3453, 6, 100)
    assert d.test.x.shape == (1012, 6, 100)
    assert d.clients == tuple(f"person-{k:02d}" for k in range(1, 11))
    counts = d.split(natural()).counts()
    assert counts.shape == (10, 7)
    assert counts.min() > 25
    assert np.abs(d.train.x.mean((0, 2))).max() < 0.01
    assert np.abs(d.train.x.std((0, 2)) - 1).max() < 0.01


@pytest.mark.parametrize(("window", "step"), [(100, 50), (64, 7), (237, 237)])
def test_no_test_window_of_the_watch_shares_an_instant_with_a_training_window(window: int, step: int) -> None:
    d = load_dataset("watch", window=window, step=step)
    instants = [{s.tobytes() for x in part.x for s in x.T} for part in (d.train, d.test)]
    shared = instants[0] & instants[1]
    # Six channels agree by chance or while the watch lies still; a shared window would be 100 instants.
    assert len(shared) < window // 4
    assert min(map(len, instants)) > 10_000


def test_watch_windows_lie_where_they_should() -> None:
    planes, lengths, _, labels = read_embedded(watch.FILE, watch.SHA256)
    d = load_dataset("watch")
    train = sum((int(n) * 3 // 4 - 100) // 50 + 1 for n in lengths)
    test = sum((int(n) - int(n) * 3 // 4 - 100) // 50 + 1 for n in lengths)
    assert (len(d.train), len(d.test)) == (train, test)
    assert np.array_equal(d.train.x[0][:, 50:], d.train.x[1][:, :50])
    assert d.train.y[0] == labels[0]
    assert planes.shape == (2, 6, 244_102)


def test_a_window_longer_than_the_shortest_test_part_is_refused() -> None:
    with pytest.raises(ValueError, match="window is 238; it must be a whole number from 1 to 237"):
        load_dataset("watch", window=238)


def test_shakespeare_has_1426_speaking_roles_each_with_a_sample() -> None:
    d = load_dataset("shakespeare")
    assert len(d.clients) == len(set(d.clients)) == 1426
    assert d.train.x.shape == (43723, 80)
    assert d.test.x.shape == (10416, 80)
    assert d.train.x.dtype == np.int64
    assert d.num_classes == 80
    federation = d.split(natural())
    assert len(federation) == 1426
    assert federation.sizes().min() == 1
    assert federation.sizes().max() == d.split(natural(1)).sizes()[0] == 612
    assert d.split(natural(1)).names == ("hamlet.hamlet",)


def read(codes: np.ndarray) -> str:
    return "".join(shakespeare.CHARACTERS[c] for c in codes)


def test_shakespeare_samples_are_what_the_role_says_next() -> None:
    d = load_dataset("shakespeare")
    hamlet = d.split(natural()).samples("hamlet.hamlet")
    assert read(hamlet.x[0]).startswith("A little more than kin, and less than kind.\n")
    said = read(hamlet.x[0]) + read(hamlet.x[1])
    assert said[80] == shakespeare.CHARACTERS[hamlet.y[0]]
    dense = load_dataset("shakespeare", step=20).split(natural()).samples("hamlet.hamlet")
    assert np.array_equal(dense.x[::4][: len(hamlet)], hamlet.x)
    assert read(dense.x[1]) == said[20:100]


def test_no_test_sample_of_shakespeare_shares_text_with_a_training_sample() -> None:
    text, lengths, names = read_embedded(shakespeare.FILE, shakespeare.SHA256)
    whole = text.tobytes().decode()
    d = load_dataset("shakespeare", step=7)
    federation = d.split(natural())
    ends = np.cumsum(lengths)
    assert names.tobytes().decode().split("\n") == list(d.clients)
    tested = [
        read(x) + shakespeare.CHARACTERS[y] for x, y in zip(d.test.x[:400], d.test.y[:400], strict=True)
    ]
    checked = 0
    for k in range(12):  # the first roles hold the first test samples
        said = whole[ends[k] - lengths[k] : ends[k]]
        cut = len(said) * 4 // 5
        for sample in tested:
            if sample in said:
                assert said.rindex(sample) >= cut
                checked += 1
        mine = federation.samples(d.clients[k])
        for x, y in zip(mine.x, mine.y, strict=True):
            sample = (read(x) + shakespeare.CHARACTERS[y]).lstrip("\n")
            assert sample in said[:cut]
    assert checked == 400


def test_a_step_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="step is 0; it must be a whole number of at least 1"):
        load_dataset("shakespeare", step=0)


def test_heart_disease_has_four_hospitals_and_names_the_investigators() -> None:
    d = load_dataset("heart-disease")
    assert d.clients == ("cleveland", "hungary", "switzerland", "va-long-beach")
    assert np.bincount(d.natural).tolist() == [243, 236, 99, 160]
    assert (len(d.train), len(d.test)) == (738, 182)
    assert d.train.x.shape[1] == 29
    for name in ("Janosi", "Steinbrunn", "Pfisterer", "Detrano"):
        assert name in d.source


def test_heart_disease_counts_are_those_of_the_uci_archive() -> None:
    _, hospital, disease = read_embedded(heart_disease.FILE, heart_disease.SHA256)
    assert np.bincount(hospital).tolist() == [303, 294, 123, 200]
    assert [int((disease[hospital == h] > 0).sum()) for h in range(4)] == [139, 106, 115, 149]


def test_what_is_missing_in_a_patient_is_filled_in_and_marked() -> None:
    d = load_dataset("heart-disease")
    table, hospital, _ = read_embedded(heart_disease.FILE, heart_disease.SHA256)
    assert np.isfinite(d.train.x).all()
    assert np.isfinite(d.test.x).all()
    marks = np.concatenate([d.train.x, d.test.x])[:, 9:16]
    assert set(np.unique(marks)) == {0.0, 1.0}
    missing = np.isnan(table[:, : len(heart_disease.MEASURED)]).sum(0)
    assert marks.sum(0).tolist() == missing[missing > 0].tolist()
    chol = heart_disease.MEASURED.index("chol")
    assert np.isnan(table[hospital == 2, chol]).all()  # zero in every Swiss patient, which is no measurement
    assert np.allclose(d.train.x[:, :9].mean(0), 0, atol=1e-6)
    assert np.allclose(d.train.x[:, :9].std(0), 1, atol=1e-5)


def test_a_linear_rule_predicts_disease() -> None:
    d = load_dataset("heart-disease")
    x = np.c_[d.train.x, np.ones(len(d.train))].astype(np.float64)
    w = np.linalg.solve(x.T @ x + np.eye(30), x.T @ (2.0 * d.train.y - 1))
    right = ((np.c_[d.test.x, np.ones(len(d.test))] @ w > 0) == d.test.y).mean()
    assert 0.74 < right < 0.9


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:]])
def test_a_damaged_embedded_file_is_refused(
    damage: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedded").mkdir()
    good = (Path(packing.__file__).parent / "embedded" / heart_disease.FILE).read_bytes()
    (tmp_path / "embedded" / heart_disease.FILE).write_bytes(damage(good))
    monkeypatch.setattr(packing, "files", lambda package: tmp_path)
    with pytest.raises(DataFileError, match=r"heart-disease\.npy\.xz is damaged: its SHA-256 is .* must be"):
        load_dataset("heart-disease")
    (tmp_path / "embedded" / heart_disease.FILE).unlink()
    with pytest.raises(DataFileError, match=r"heart-disease\.npy\.xz cannot be read .* reinstall hedgerow"):
        load_dataset("heart-disease")


def test_packing_gives_the_same_bytes_for_any_byte_order_and_layout() -> None:
    table = np.arange(12, dtype=np.int32).reshape(3, 4)
    packed = pack([table, np.float32([1.5])])
    assert pack([np.asfortranarray(table).astype(">i4"), np.float32([1.5])]) == packed
    back = unpack(packed)
    assert [a.dtype for a in back] == [np.int32, np.float32]
    assert np.array_equal(back[0], table)


def test_a_packed_file_is_never_unpickled() -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        pack([np.array([{}], dtype=object)])
