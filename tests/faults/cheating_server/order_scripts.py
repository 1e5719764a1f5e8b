"""A server that asks for a stage out of turn."""

from hedgerow.secure import errors
from hedgerow.secure.states import Confirmed, Joined, Shared, pack, unpack
from tests.faults.cheating_server.stages import VICTIM, at, cheats


@cheats(errors.OutOfOrder)
def unmasking_before_the_list_is_signed() -> None:
    rehearsal = at("survivors")
    unpack(pack(rehearsal.contributed[VICTIM]), Confirmed)


@cheats(errors.OutOfOrder)
def new_keys_after_shares_were_given() -> None:
    rehearsal = at("masked")
    unpack(pack(rehearsal.shared[VICTIM]), Joined)


@cheats(errors.OutOfOrder)
def a_second_vector_under_the_same_masks() -> None:
    rehearsal = at("survivors")
    unpack(pack(rehearsal.contributed[VICTIM]), Shared)
