"""A round up to a stage, at which its server cheats; and a collection of scripts that do."""

from collections.abc import Callable
from dataclasses import replace

from hedgerow.secure import client
from hedgerow.secure.messages import Adverts, Delivery, Survivors, Unmask
from hedgerow.secure.states import Contributed
from tests.secure_round import Rehearsal, names, scripts

VICTIM = "client-004"
COHORT = names(10)

SCRIPTS, cheats = scripts()


def at(stage: str, members: tuple[str, ...] = COHORT, **changed) -> Rehearsal:
    return Rehearsal(members, changed=changed).until(stage)


def join(**changed) -> None:
    """The victim is told of a round with something changed."""
    rehearsal = Rehearsal(changed.get("members", COHORT), changed={})
    client.join(rehearsal.parties[VICTIM], replace(rehearsal.setup, **changed))


def share(change: Callable[[Adverts], Adverts], rehearsal: Rehearsal | None = None) -> None:
    """The victim is given keys that were tampered with."""
    rehearsal = rehearsal or at("shares")
    client.share(rehearsal.parties[VICTIM], rehearsal.joined[VICTIM], change(rehearsal.server.adverts))


def contribute(change: Callable[[Delivery], Delivery]) -> Contributed:
    """The victim is given shares that were tampered with."""
    rehearsal = at("masked")
    delivery = change(rehearsal.server.delivery(VICTIM))
    party, vector = rehearsal.parties[VICTIM], rehearsal.vector(VICTIM)
    return client.contribute(party, rehearsal.shared[VICTIM], delivery, vector)[2]


def confirm(alive: tuple[str, ...], dead: tuple[str, ...], rehearsal: Rehearsal | None = None) -> None:
    """The victim is asked to sign a list of survivors."""
    rehearsal = rehearsal or at("survivors")
    listed = Survivors(rehearsal.server.adverts.keys, alive, dead)
    client.confirm(rehearsal.parties[VICTIM], rehearsal.contributed[VICTIM], listed)


def reveal(change: Callable[[Unmask, Rehearsal], Unmask]) -> None:
    """The victim is asked for its shares."""
    rehearsal = at("unmask")
    asked = change(rehearsal.server.unmask, rehearsal)
    client.reveal(rehearsal.parties[VICTIM], rehearsal.confirmed[VICTIM], asked)


def first(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    return tuple(sorted([VICTIM, *[n for n in names if n != VICTIM][: count - 1]]))
