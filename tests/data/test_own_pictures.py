"""Folders of the user's own pictures: what is read, and what each bad file says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hedgerow.datasets import (
    DataFileError,
    load_dataset,
)


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
        (loose, r"loose\.png is not in the folder of a class"),
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
