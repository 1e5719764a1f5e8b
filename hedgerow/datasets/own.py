"""The user's own data, from a function."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hedgerow import generators
from hedgerow.datasets.dataset import Dataset
from hedgerow.own_code import find_own
from hedgerow.rng import integer_seed
from hedgerow.types import Samples


def is_own(name: str) -> bool:
    """Whether a name is `module:function` or `file.py:function`, not a path.

    >>> is_own("mine.py:hospitals"), is_own("package.module:hospitals"), is_own("fashion-mnist")
    (True, True, False)
    """
    place, colon, function = name.rpartition(":")
    return bool(colon and function.isidentifier()) and (
        place.endswith(".py") or all(part.isidentifier() for part in place.split("."))
    )


def find_function(name: str) -> Callable[..., Any]:
    """The function that returns the data.

    Raises:
        ValueError: there is no such module, file or function.
    """
    function = find_own(name, "data")
    if not callable(function):
        raise ValueError(
            f"data {name!r} is {_article(function)}; it must be a function that returns the data"
        )

    @wraps(function)
    def loaded(*given: Any, **options: Any) -> Any:
        return _without_fault(f"data {name!r}", lambda: function(*given, **options))

    return loaded


def as_dataset(name: str, given: Any) -> Dataset:
    """The result of a function, as a data set.

    Args:
        name: of the function.
        given: a `Dataset`; or an object with `names` and `samples(name)`, whose clients become the
            natural ones. It may have `test` (samples) and `classes` (their names). Without
            `classes`, integers are classes from 0, and other targets are numbers to predict.

    Raises:
        ValueError: it is neither, or its samples do not fit together.

    >>> class Hospitals:
    ...     names = ("north", "south")
    ...     def samples(self, name):
    ...         return Samples(np.full((3, 2), len(name)), np.array([0, 1, 1]))
    >>> data = as_dataset("mine.py:hospitals", Hospitals())
    >>> len(data.train), data.clients, data.num_classes, len(data.test)
    (6, ('north', 'south'), 2, 0)
    """
    if isinstance(given, Dataset):
        return given
    if not hasattr(given, "names") or not callable(getattr(given, "samples", None)):
        raise ValueError(
            f"data {name!r} returned {_article(given)}; it must return a Dataset, or an object with names and"
            " samples(name)"
        )
    names = tuple(map(str, given.names))
    if not names:
        raise ValueError(f"data {name!r} returned no client; names must have at least one")
    parts = [_loaded(name, given, client) for client in names]
    for client, part in zip(names, parts, strict=True):
        if part.x.shape[1:] != parts[0].x.shape[1:] or part.y.shape[1:]:
            raise ValueError(
                f"data {name!r}: client {client!r} has samples of shape {part.x.shape[1:]} and targets of"
                f" {part.y.shape[1:]}; all clients must have those of {names[0]!r},"
                f" {parts[0].x.shape[1:]}, and a single target each"
            )
    train = Samples(np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]))
    empty = Samples(train.x[:0], train.y[:0])
    test = _checked(name, "test", getattr(given, "test", empty))
    classes = getattr(given, "classes", None)
    if classes is None and np.issubdtype(train.y.dtype, np.integer):
        classes = range(int(max(train.y.max(initial=-1), test.y.max(initial=-1))) + 1)
    sizes = [len(part) for part in parts]
    return Dataset(
        name,
        train,
        test,
        tuple(map(str, classes or ())),
        natural=np.repeat(np.arange(len(names)), sizes).astype(np.int64),
        clients=names,
        source=f"the function {name}",
    )


def _loaded(name: str, given: Any, client: str) -> Samples:
    # Draws from the global generators in a loader are determined by the client's name.
    with generators.seeded(integer_seed(0, "data", client=client)):
        what = f"client {client!r}"
        return _checked(name, what, _without_fault(f"data {name!r}: {what}", lambda: given.samples(client)))


def _without_fault(what: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except Exception as error:
        raise ValueError(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error


def _checked(name: str, what: str, samples: Any) -> Samples:
    if not hasattr(samples, "x") or not hasattr(samples, "y"):
        raise ValueError(
            f"data {name!r}: {what} is {_article(samples)}; it must be hedgerow.Samples, with x and y"
        )
    x, y = (_plain(np.asarray(values)) for values in (samples.x, samples.y))
    return Samples(x, y)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Targets in the types of data sets: int64 or float32."""
    whole = np.issubdtype(values.dtype, np.integer) or values.dtype == np.bool_
    return values.astype(np.int64 if whole else np.float32, copy=False)


def _article(given: Any) -> str:
    return "None" if given is None else f"an object of the type {type(given).__name__}"
