"""Rebuild hedgerow/datasets/embedded/fashion-mnist.npy.xz from the Debian package, bit for bit.

Usage: python scripts/datasets/build_fashion_mnist.py [OUTPUT]
Needs: apt-get and dpkg-deb (any Debian or Ubuntu), after `apt-get update`.
"""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from packages import debian, main

from hedgerow.datasets import fashion_mnist

PACKAGE = "dataset-fashion-mnist"
FOLDER = "usr/share/datasets/fashion-mnist"


def build(folder: Path) -> list[NDArray[np.uint8]]:
    """Training and test pictures, `(10, 600, 28, 28)` and `(10, 100, 28, 28) uint8`."""
    root = debian(PACKAGE, folder) / FOLDER
    return [first_of_each_class(root, "train", 600), first_of_each_class(root, "t10k", 100)]


def first_of_each_class(root: Path, part: str, each: int) -> NDArray[np.uint8]:
    """The first pictures of each class, in file order."""
    pictures = idx(root / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    labels = idx(root / f"{part}-labels-idx1-ubyte.gz", 8)
    return np.stack([pictures[np.flatnonzero(labels == c)[:each]] for c in range(10)])


def idx(file: Path, header: int) -> NDArray[np.uint8]:
    """The bytes of an IDX file after its header."""
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header)


if __name__ == "__main__":
    main(build, fashion_mnist.FILE, fashion_mnist.SHA256)
