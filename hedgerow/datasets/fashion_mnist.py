"""Fashion-MNIST: 28 x 28 grey pictures of clothes (arXiv:1708.07747)."""

import numpy as np
from numpy.typing import NDArray

from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import read_embedded
from hedgerow.types import Samples

FILE = "fashion-mnist.npy.xz"
SHA256 = "905db3df0ae4c18e59600af597bd18f9b2d8975cb7845e5c64d73272c92d0e00"

CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def load_fashion_mnist() -> Dataset:
    """Fashion-MNIST, embedded: 6,000 + 1,000 pictures of clothes, 28 x 28, 10 classes.

    The first 600 training and the first 100 test pictures of each class, in
    the order of the classes.
    """
    train, test = read_embedded(FILE, SHA256)
    return Dataset(
        name="fashion-mnist",
        train=_samples(train),
        test=_samples(test),
        classes=CLASSES,
        source="Fashion-MNIST, Zalando SE (arXiv:1708.07747); Debian package dataset-fashion-mnist",
        licence="MIT (Debian: Expat)",
        note="the first 600 training and 100 test pictures of each class; pixels divided by 255",
    )


def scaled(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels from 0 to 255 to float32 in [0, 1]."""
    x = pictures.astype(np.float32)
    x /= np.float32(255)
    return x


def _samples(pictures: NDArray[np.uint8]) -> Samples:
    # The file holds (classes, pictures of the class, 28, 28), so that it needs no labels.
    classes, each = pictures.shape[:2]
    labels = np.repeat(np.arange(classes, dtype=np.int64), each)
    return Samples(scaled(pictures.reshape(classes * each, 1, 28, 28)), labels)
