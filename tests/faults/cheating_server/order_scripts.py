"""A server that asks for a stage out of turn."""

from hedgerow.secure import errors
from hedgerow.secure.states import Confirmed, Joined, Shared, close, reopen
from tests.faults.cheating_server.stages import VICTIM, at, cheats

SECRET, SALT = bytes(32), bytes(16)


@cheats(errors.OutOfOrder)
def unmasking_before_the_list_is_signed() -> None:
    rehearsal = at("survivors")
    reopen(close(rehearsal.contributed[VICTIM], SECRET, SALT), Confirmed, SECRET, SALT)


@cheats(errors.OutOfOrder)
def new_keys_after_shares_were_given() -> None:
    rehearsal = at("masked")
    reopen(close(rehearsal.shared[VICTIM], SECRET, SALT), Joined, SECRET, SALT)


@cheats(errors.OutOfOrder)
def a_second_vector_under_the_same_masks() -> None:
    rehearsal = at("survivors")
    reopen(close(rehearsal.contributed[VICTIM], SECRET, SALT), Shared, SECRET, SALT)
