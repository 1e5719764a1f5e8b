"""A process's global random generators: those of `random`, numpy, and torch once it is imported.

torch has one for the CPU, and one for each GPU from CUDA's first use on.

Hedgerow itself draws only from `rng`. But a user's model, loss, metric or data
loader may draw from these, and its draws must depend on the run's seed and their
purpose alone, not on what the process did before.
"""

import os
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import zip_longest
from typing import Any, TypeAlias

import numpy as np

States: TypeAlias = tuple[Any, ...]

_alone = threading.RLock()
_nobodys = False
"""Whether nobody needs the generators restored; read and written only while holding the lock."""


def _again() -> None:
    # The thread that held the lock does not exist in the forked process.
    global _alone, _nobodys
    _alone, _nobodys = threading.RLock(), False


os.register_at_fork(after_in_child=_again)

_MARK = 0x0BADC0DE_5EEDED07
_FIRST = random.Random(_MARK).random(), np.random.RandomState(_MARK >> 31).random_sample()


def states() -> States:
    """The states of all generators, for `restore`."""
    return random.getstate(), np.random.get_state(), torch_states()  # noqa: NPY002


def torch_states() -> States:
    """The states of torch's generators only."""
    return (*[each.get_state() for each in _of_torch()],)


def restore(states: States) -> None:
    """Set the generators back to these states; one that was not there yet is reseeded."""
    of_python, of_numpy, of_torch = states
    random.setstate(of_python)
    np.random.set_state(of_numpy)  # noqa: NPY002
    restore_torch(of_torch)


def restore_torch(states: States) -> None:
    """The same for the states of torch's generators."""
    for each, state in zip_longest(_of_torch(), states):
        if state is None:
            each.seed()
        else:
            each.set_state(state)


def restart() -> None:
    """Take new seeds from the operating system."""
    random.seed()
    np.random.seed()  # noqa: NPY002
    for each in _of_torch():
        each.seed()


def seed(seed: int) -> None:
    """Seed all of them from one 63-bit seed.

    >>> with undisturbed():
    ...     seed(7)
    ...     random.random() == random.Random(7).random()
    True
    """
    random.seed(seed)
    # Other bits than torch's: both are Mersenne Twisters, and would draw the same numbers.
    np.random.seed(seed >> 31)  # noqa: NPY002
    for each in _of_torch():
        each.manual_seed(seed)


def mark() -> None:
    """Seed all of them with a fixed mark, so that `drawn` can tell whether anything was drawn since.

    >>> with undisturbed():
    ...     mark()
    ...     _ = random.random()
    ...     drawn()
    True
    """
    seed(_MARK)


def drawn() -> bool:
    """Whether anything was drawn since `mark`; it draws itself, so call it once.

    Cheaper than comparing states: reading numpy's takes longer than training a small model.
    """
    first = random.random(), np.random.random_sample()  # noqa: NPY002
    if first != _FIRST:
        return True
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    state, marked = torch.default_generator.get_state(), torch.Generator().manual_seed(_MARK)
    # If torch was imported since, its generator is like a new one.
    if not any(torch.equal(state, each.get_state()) for each in (marked, torch.Generator())):
        return True
    # On a GPU each draw moves the generator's offset, which a seed sets to 0.
    return any(each.get_offset() for each in _of_torch()[1:])


def _of_torch() -> Sequence[Any]:
    """torch's generators: the CPU's, and then those of the GPUs once CUDA is in use."""
    torch = sys.modules.get("torch")
    if torch is None:  # not imported, or barred from being imported
        return ()
    gpus = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    return torch.default_generator, *gpus


def alone() -> AbstractContextManager[bool]:
    """A lock that lets one thread of this process at a time use process-wide state."""
    return _alone


@contextmanager
def undisturbed() -> Iterator[None]:
    """Restore the generators afterwards, whatever is drawn inside; one thread at a time."""
    global _nobodys
    with alone():
        free, _nobodys = _nobodys, False
        # Reading the states takes as long as a few training steps of a small model.
        before = None if free else states()
        try:
            yield
        finally:
            if before is not None:
                restore(before)
            _nobodys = free


@contextmanager
def lent() -> Iterator[None]:
    """Like `undisturbed`, for code whose parts all seed before they draw, so that they need not restore.

    An `undisturbed` or `seeded` block directly inside does not restore the generators; blocks nested deeper
    restore them as usual.

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
    """Declare that nobody needs the generators restored, as in a process that only runs clients."""
    global _nobodys
    _nobodys = True


@contextmanager
def seeded(number: int) -> Iterator[None]:
    """Seed the generators with `seed(number)` inside, and restore them afterwards."""
    with undisturbed():
        seed(number)
        yield
