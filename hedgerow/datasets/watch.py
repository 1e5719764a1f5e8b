"""Shoulder exercises seen by a smartwatch: six sensor channels at 50 Hz (arXiv:1802.01489)."""

import math

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import read_embedded
from hedgerow.types import Samples

FILE = "watch.npy.xz"
SHA256 = "a329323d1b1f1b95502d6e53fc31638ebc7145904fc7e5b250344a4f6b01f831"

CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
# Steps of the embedded whole numbers: 1/1024 g for acceleration, 1/512 rad/s for rotation.
STEPS_PER_UNIT = (1024, 1024, 1024, 512, 512, 512)

CODES = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
CLASSES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)


def load_watch(window: int = 100, step: int = 50) -> Dataset:
    """Smartwatch, embedded: 7 shoulder exercises, 6 channels at 50 Hz, 10 people as clients.

    The first 75 % of each of the 140 series are for training and the rest for
    testing; only then are they cut into windows, so that no test window shares
    an instant with a training window. Each channel is shifted and scaled to
    mean 0 and variance 1 over the training part. A remainder at the end of a
    part that does not fill a window is not used.

    Args:
        window: instants in a sample; 100 are 2 seconds. At most 237, the
            length of the shortest test part.
        step: instants from one window to the next.
    """
    planes, lengths, subjects, labels = read_embedded(FILE, SHA256)
    shortest = int(lengths.min() - lengths.min() * 3 // 4)
    checks.whole(1, shortest, window=window)
    checks.whole(1, step=step)
    series = _series(planes)
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    middles = starts + lengths.astype(np.int64) * 3 // 4
    scaled = _standardised(series, starts, middles)
    x, part = _windows(scaled, starts, middles, window, step)
    test_x, test_part = _windows(scaled, middles, ends, window, step)
    people = np.unique(subjects)
    return Dataset(
        name="watch",
        train=Samples(x, labels[part].astype(np.int64)),
        test=Samples(test_x, labels[test_part].astype(np.int64)),
        classes=CLASSES,
        natural=np.searchsorted(people, subjects[part]).astype(np.int64),
        clients=tuple(f"person-{p:02d}" for p in people),
        source="Burns et al., shoulder exercises (arXiv:1802.01489); PyPI package seglearn 1.2.5",
        licence="BSD-3-Clause",
        note="rounded to 1/1024 g and 1/512 rad/s; the first 75 % of each series for training, the rest for"
        f" testing; windows of {window} instants every {step}; channels standardised",
    )


def _series(planes: NDArray[np.uint8]) -> NDArray[np.int16]:
    """All series, concatenated, in integer steps, `(6, total)`, from the bytes of their differences."""
    changes = planes[0].astype(np.int64) + 256 * planes[1].view(np.int8).astype(np.int64)
    return np.cumsum(changes, axis=1).astype(np.int16)  # modulo 65,536, as they were taken


def _standardised(
    series: NDArray[np.int16], starts: NDArray[np.int64], middles: NDArray[np.int64]
) -> NDArray[np.float32]:
    # Integer sums are exact, so every machine gets the same mean and variance.
    scaled = np.empty(series.shape, np.float32)
    for channel, values in enumerate(series.astype(np.int64)):
        training = np.concatenate([values[a:b] for a, b in zip(starts, middles, strict=True)])
        n, total, squares = len(training), int(training.sum()), int((training**2).sum())
        spread = math.sqrt((n * squares - total**2) / n**2)
        scaled[channel] = (values - total / n) / spread
    return scaled


def _windows(
    series: NDArray[np.float32], starts: NDArray[np.int64], ends: NDArray[np.int64], window: int, step: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Windows inside each part, `(n, 6, window)`, and the part each belongs to, `(n,)`."""
    firsts = [np.arange(a, b - window + 1, step, dtype=np.int64) for a, b in zip(starts, ends, strict=True)]
    part = np.repeat(np.arange(len(firsts)), [len(f) for f in firsts])
    views = np.lib.stride_tricks.sliding_window_view(series, window, axis=1)
    return np.ascontiguousarray(views[:, np.concatenate(firsts)].transpose(1, 0, 2)), part
