"""The global generators of a process: of `random`, of numpy, and of torch (on the CPU) once it is imported.

Hedgerow draws from `rng` only. But a user's model, loss, metric or data loader
may draw from these, and what it draws must follow from the run's seed and from
what it is drawn for, and not from what the process did before.
"""

import os
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import numpy as np

States: TypeAlias = tuple[Any, ...]

_alone = threading.RLock()
_nobodys = False
"""Whether nobody wants the generators back as they are; read and written by who holds the lock."""


def _again() -> None:
    # The thread that held it is not in the new process.
    global _alone, _nobodys
    _alone, _nobodys = threading.RLock(), False


os.register_at_fork(after_in_child=_again)

_MARK = 0x0BADC0DE_5EEDED07
_FIRST = random.Random(_MARK).random(), np.random.RandomState(_MARK >> 31).random_sample()


def states() -> States:
    """What `restore` takes back."""
    torch = sys.modules.get("torch")
    of_torch = torch.default_generator.get_state() if torch else None
    return random.getstate(), np.random.get_state(), of_torch  # noqa: NPY002


def restore(states: States) -> None:
    """Let the generators go on from where they were; torch afresh, if it was imported since."""
    of_python, of_numpy, of_torch = states
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002
    if of_torch is not None:
        sys.modules["torch"].default_generator.set_state(of_torch)
    elif "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def restart() -> None:
    """Take new seeds from the operating system."""
    random.seed()
    np.random.seed()  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()


def seed(seed: int) -> None:
    """Begin all three anew, from one seed of 63 bits.

    >>> with undisturbed():
    ...     seed(7)
    ...     random.random() == random.Random(7).random()
    True
    """
    random.seed(seed)
    # Of other bits than torch's: the two are of one kind, and would draw the same numbers.
    np.random.seed(seed >> 31)  # noqa: NPY002
    if torch := sys.modules.get("torch"):
        torch.default_generator.manual_seed(seed)


def mark() -> None:
    """Begin all three anew, so that `drawn` can tell whether anything was drawn since.

    >>> with undisturbed():
    ...     mark()
    ...     _ = random.random()
    ...     drawn()
    True
    """
    seed(_MARK)


def drawn() -> bool:
    """Whether anything was drawn since `mark`; it draws itself, and so is asked once.

    Cheaper than to compare states: of numpy's it takes longer to read than a small model to train.
    """
    first = random.random(), np.random.random_sample()  # noqa: NPY002
    if first != _FIRST:
        return True
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    fresh = torch.Generator().manual_seed(_MARK).get_state()
    return not torch.equal(torch.default_generator.get_state(), fresh)


def alone() -> AbstractContextManager[bool]:
    """One thread of this process at a time: what is the whole process's has one user in here."""
    return _alone


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the generators as they were, whatever is drawn inside, by one thread at a time."""
    global _nobodys
    with alone():
        free, _nobodys = _nobodys, False
        # It takes as long as some steps of a small model.
        before = None if free else states()
        try:
            yield
        finally:
            if before is not None:
                restore(before)
            _nobodys = free


@contextmanager
def lent() -> Iterator[None]:
    """As `undisturbed`, for code whose parts each seed before they draw: they need not put anything back.

    What comes directly inside, `undisturbed` or `seeded`, leaves the generators where they are; what is
    nested deeper puts them back as ever.

    >>> with lent():
    ...     seed(7)
    ...     with undisturbed():
    ...         _ = random.random()
    ...     random.random() == random.Random(7).random()
    False
    """
    with undisturbed():
        disown()
        yield


def disown() -> None:
    """Nobody wants the generators back: as in a process that is made for clients only."""
    global _nobodys
    _nobodys = True


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Draw from `seed(number)` inside, and leave the generators as they were."""
    with undisturbed():
        seed(number)
        yield
