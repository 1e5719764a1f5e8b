"""Fetched data: hashes, the cache, no network, damaged files. Loopback only."""

import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from hedgerow.datasets import DataFileError, load_dataset, shards
from hedgerow.datasets.cifar import CIFAR_10
from hedgerow.datasets.downloads import Archive, cache_folder
from hedgerow.datasets.mnist import FASHION_MNIST, MNIST

CONTENT = b"a small archive"
PINNED = {"a.gz": hashlib.sha256(CONTENT).hexdigest()}


def mnist_folder() -> Path:
    beside = Path(__file__).parents[3] / "shared" / "data" / "mnist"
    folder = Path(os.environ.get("HEDGEROW_TEST_MNIST", beside))
    if not folder.is_dir():
        pytest.skip(
            "MNIST is not on this machine: set HEDGEROW_TEST_MNIST to the folder with its four archives"
        )
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine, and the folder that it serves."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> str:
    """Every request goes to a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{held.getsockname()[1]}/"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, nobody)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    return nobody


def test_a_file_is_fetched_once_and_then_read_from_the_cache(web: tuple[str, Path], cache: Path) -> None:
    address, folder = web
    (folder / "a.gz").write_bytes(CONTENT)
    archive = Archive("things", (address,), PINNED)
    assert archive.path("a.gz") == cache / "things" / "a.gz"
    (folder / "a.gz").unlink()
    assert archive.path("a.gz").read_bytes() == CONTENT


def test_the_next_mirror_is_tried_when_one_fails(web: tuple[str, Path], cache: Path) -> None:
    address, folder = web
    (folder / "good").mkdir()
    (folder / "good" / "a.gz").write_bytes(CONTENT)
    (folder / "wrong").mkdir()
    (folder / "wrong" / "a.gz").write_bytes(b"another file")
    mirrors = (f"{address}missing/", f"{address}wrong/", f"{address}good/")
    assert Archive("things", mirrors, PINNED).path("a.gz").read_bytes() == CONTENT


def test_a_file_with_another_hash_is_refused_and_not_kept(web: tuple[str, Path], cache: Path) -> None:
    address, folder = web
    (folder / "a.gz").write_bytes(b"another file")
    with pytest.raises(DataFileError, match="could not be fetched") as refused:
        Archive("things", (address,), PINNED).path("a.gz")
    assert PINNED["a.gz"] in str(refused.value)
    assert not (cache / "things" / "a.gz").exists()
    assert not list((cache / "things").glob("*"))


@pytest.mark.parametrize(
    ("name", "archive"), [("mnist", MNIST), ("fashion-mnist-full", FASHION_MNIST), ("cifar-10", CIFAR_10)]
)
def test_without_a_network_the_error_says_what_to_put_where(
    name: str, archive: Archive, cache: Path, no_network: str
) -> None:
    with pytest.raises(DataFileError) as refused:
        load_dataset(name)
    text = str(refused.value)
    file = next(file for file in archive.sha256 if file in text)
    for mirror in archive.mirrors:
        assert mirror + file in text
    assert f"Put {file} (SHA-256 {archive.sha256[file]}) into the folder {cache / archive.folder}" in text
    assert f"HEDGEROW_DATA to a folder that holds {archive.folder}/{file}" in text
    assert not list(cache.rglob("*.gz"))


def test_a_damaged_file_in_the_cache_is_named_and_left_alone(cache: Path, web: tuple[str, Path]) -> None:
    address, folder = web
    (folder / "a.gz").write_bytes(CONTENT)
    place = cache / "things" / "a.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(DataFileError, match=r"things/a\.gz is damaged: its SHA-256 is .* Delete it"):
        Archive("things", (address,), PINNED).path("a.gz")
    assert place.read_bytes() == CONTENT[:-1]


def test_a_cache_that_cannot_be_written_is_one_clear_error(
    web: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = web
    (folder / "a.gz").write_bytes(CONTENT)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "file"))
    with pytest.raises(DataFileError, match=r"could not be fetched .*\n.*\n.*Error"):
        Archive("things", (address,), PINNED).path("a.gz")


def test_the_cache_is_the_users_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("HEDGEROW_DATA")
    assert cache_folder().name == "hedgerow"


def test_mnist_is_the_canonical_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDGEROW_DATA", str(mnist_folder().parent))
    d = load_dataset("mnist")
    assert d.train.x.shape == (60_000, 1, 28, 28)
    assert d.test.x.shape == (10_000, 1, 28, 28)
    assert d.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert d.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(d.train.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert abs(float(d.train.x.mean(dtype=np.float64)) - 0.1306605) < 1e-6
    assert (d.split(shards(100)).sizes() == 600).all()


def test_one_damaged_mnist_archive_stops_the_load(
    cache: Path, monkeypatch: pytest.MonkeyPatch, no_network: str
) -> None:
    shutil.copytree(mnist_folder(), cache / "mnist", copy_function=shutil.copyfile)
    damaged = cache / "mnist" / "t10k-labels-idx1-ubyte.gz"
    cache.chmod(0o755)
    damaged.parent.chmod(0o755)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(DataFileError, match=r"t10k-labels-idx1-ubyte\.gz is damaged"):
        load_dataset("mnist")
