"""MNIST and the full Fashion-MNIST, fetched from the web."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.downloads import Archive
from hedgerow.datasets.fashion_mnist import CLASSES, scaled
from hedgerow.types import Samples

MNIST = Archive(
    folder="mnist",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
)

# Hashes as in the checksum list of TensorFlow Datasets, url_checksums/fashion_mnist.txt.
FASHION_MNIST = Archive(
    folder="fashion-mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    sha256={
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def load_mnist() -> Dataset:
    """MNIST, fetched (12 MB): 60,000 + 10,000 handwritten digits, 28 x 28, 10 classes."""
    return Dataset(
        name="mnist",
        train=_samples(MNIST, "train"),
        test=_samples(MNIST, "t10k"),
        classes=tuple("0123456789"),
        source="MNIST, LeCun, Cortes and Burges (doi:10.1109/5.726791)",
        licence="CC BY-SA 3.0",
        note="pixels divided by 255",
    )


def load_fashion_mnist_full() -> Dataset:
    """Fashion-MNIST, fetched (31 MB): 60,000 + 10,000 pictures of clothes, 28 x 28, 10 classes."""
    return Dataset(
        name="fashion-mnist-full",
        train=_samples(FASHION_MNIST, "train"),
        test=_samples(FASHION_MNIST, "t10k"),
        classes=CLASSES,
        source="Fashion-MNIST, Zalando SE (arXiv:1708.07747)",
        licence="MIT",
        note="pixels divided by 255",
    )


def _samples(archive: Archive, part: str) -> Samples:
    pictures = _idx(archive.path(f"{part}-images-idx3-ubyte.gz"))
    labels = _idx(archive.path(f"{part}-labels-idx1-ubyte.gz"))
    return Samples(scaled(pictures[:, None]), labels.astype(np.int64))


def _idx(file: Path) -> NDArray[np.uint8]:
    """An IDX file of bytes: two zeros, the type 8, the number of axes, their lengths, the values."""
    content = gzip.decompress(file.read_bytes())
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
