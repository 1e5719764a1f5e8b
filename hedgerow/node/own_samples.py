"""A device's own data: one file or folder, reloaded when it has changed."""

from pathlib import Path
from typing import final

from hedgerow.client.data import ClientData
from hedgerow.datasets.held_out import HeldOut
from hedgerow.datasets.loading import DATASETS, load_dataset
from hedgerow.datasets.own_file import load_own
from hedgerow.datasets.partitions import natural
from hedgerow.recipe.own_data import NAME as OWN
from hedgerow.recipe.own_data import OwnSchema
from hedgerow.types import Samples


@final
class OwnSamples:
    """The data of a device, which is a single client.

    Args:
        name: of the client.
        path: of the data.
        schema: that the data must fit.
    """

    def __init__(self, name: str, path: Path, schema: OwnSchema) -> None:
        self.names = (name,)
        self._path, self._schema = path, schema
        self._loaded: tuple[object, Samples] | None = None

    def samples(self, name: str) -> Samples:
        """All samples, whatever the name; raises `ValueError` if they do not fit the schema."""
        seen = _state_of(self._path)
        if self._loaded is None or self._loaded[0] != seen:
            self._loaded = seen, load_own(self._path, self._schema)
        return self._loaded[1]


def packaged_part(name: str, data_set: str, seed: int) -> ClientData:
    """The natural client with that name in a packaged data set, for trying out a federation.

    Raises:
        ValueError: the data set has no such client.
    """
    federation = load_dataset(data_set).split(natural(), seed)
    federation.samples(name)
    return federation


def resolved(data: Path) -> str:
    """What a device stores about the data it is given: an absolute path, or the name of a packaged data set.

    Raises:
        ValueError: it is neither.
    """
    if data.exists():
        return str(data.resolve())
    packaged = [name for name in DATASETS.names() if name != OWN]
    if str(data) in packaged:
        return str(data)
    raise ValueError(
        f"data is {str(data)!r}, which does not exist; give a .csv or .npz file, or a folder with a folder of"
        " pictures for each class"
    )


def own_data(data: ClientData, held_out: float | None, by: str, seed: int) -> ClientData:
    """A device's data as a run uses it: with a part held out if the run says so."""
    return data if held_out is None else HeldOut(data, held_out, by, seed)


def _state_of(path: Path) -> object:
    """A value that changes when the file, or a file in the folder, does."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [(file, file.stat()) for file in files if file.exists()]
    return [(file, about.st_mtime_ns, about.st_size) for file, about in found]
