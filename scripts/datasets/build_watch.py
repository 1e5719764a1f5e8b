"""Rebuild hedgerow/datasets/embedded/watch.npy.xz from the PyPI package seglearn, bit for bit.

Usage: python scripts/datasets/build_watch.py [OUTPUT]

The package's array file is a pickle. It is read here, and only here, by an
unpickler that knows four names, all of which only make arrays: a file that
asks for anything else is refused. seglearn itself is neither installed nor
imported.
"""

import codecs
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packages import main, wheel

from hedgerow.datasets import watch

PACKAGE = "seglearn==1.2.5"
SHA256 = "ec6b952c85c9627050102854b372d85951563d3b990df677d7c55547e87413dd"
MEMBER = "seglearn/data/watch_dataset.npy"


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays, lists, dictionaries, texts and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        # Old pickles say numpy.core; numpy 2 keeps the function under another path.
        known = {
            ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): codecs.encode,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which is not an array")
        return known[module, name]


def build(folder: Path) -> list[NDArray[Any]]:
    """Quantised differences as two byte planes; samples, subject and exercise of each series.

    Returns `(2, 6, total) uint8` (low bytes, high bytes), and three arrays
    `(140,)`: int32, uint8, uint8. `hedgerow.datasets.watch` says how to read
    them.
    """
    with wheel(PACKAGE, SHA256, folder) as archive:
        content = archive.read(MEMBER)
    stream = io.BytesIO(content)
    np.lib.format.read_magic(stream)
    np.lib.format.read_array_header_1_0(stream)
    data = ArrayUnpickler(stream).load().item()
    if data["X_labels"] != list(watch.CHANNELS) or data["y_labels"] != list(watch.CODES):
        raise SystemExit(
            f"the package's channels or classes are not the expected: {data['X_labels']}, {data['y_labels']}"
        )
    scale = np.array(watch.STEPS_PER_UNIT, np.float64)
    steps = np.round(np.concatenate(data["X"]) * scale).astype("<i2").T
    changes = np.ascontiguousarray(np.diff(steps, axis=1, prepend=np.zeros((6, 1), "<i2")))
    planes = np.moveaxis(changes.view(np.uint8).reshape(*changes.shape, 2), 2, 0)
    return [
        np.ascontiguousarray(planes),
        np.array([len(x) for x in data["X"]], np.int32),
        data["subject"].astype(np.uint8),
        data["y"].astype(np.uint8),
    ]


if __name__ == "__main__":
    main(build, watch.FILE, watch.SHA256)
