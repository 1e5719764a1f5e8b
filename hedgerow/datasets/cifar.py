"""CIFAR-10, fetched from the web."""

import tarfile

import numpy as np
from numpy.typing import NDArray

from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.downloads import Archive
from hedgerow.datasets.fashion_mnist import scaled
from hedgerow.types import Samples

# The binary version: the Python version is a pickle. Its hash is as in the
# checksum list of TensorFlow Datasets, url_checksums/cifar10.txt.
CIFAR_10 = Archive(
    folder="cifar-10",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    sha256={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
)

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_RECORD = 1 + 3 * 32 * 32


def load_cifar_10() -> Dataset:
    """CIFAR-10, fetched (170 MB): 50,000 + 10,000 colour pictures, 32 x 32, 10 classes."""
    with tarfile.open(CIFAR_10.path("cifar-10-binary.tar.gz")) as archive:
        train = [_records(archive, f"data_batch_{k}.bin") for k in range(1, 6)]
        test = _records(archive, "test_batch.bin")
    return Dataset(
        name="cifar-10",
        train=_samples(np.concatenate(train)),
        test=_samples(test),
        classes=CLASSES,
        source="CIFAR-10, Krizhevsky (Learning Multiple Layers of Features from Tiny Images, 2009)",
        licence="none stated; free for research",
        note="pixels divided by 255",
    )


def _records(archive: tarfile.TarFile, file: str) -> NDArray[np.uint8]:
    member = archive.extractfile(f"cifar-10-batches-bin/{file}")
    assert member is not None, file  # the archive's hash was checked, so it exists
    return np.frombuffer(member.read(), np.uint8).reshape(-1, _RECORD)


def _samples(records: NDArray[np.uint8]) -> Samples:
    """Convert records of a label and a picture, in planes red, green and blue, row by row."""
    return Samples(scaled(records[:, 1:].reshape(-1, 3, 32, 32)), records[:, 0].astype(np.int64))
