"""What the server does to the shares that clients send each other."""

from dataclasses import replace

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.secure import client, errors
from hedgerow.secure.messages import Delivery
from hedgerow.secure.primitives import Agreement
from tests.faults.cheating_server.stages import VICTIM, at, cheats, contribute, first
from tests.secure_round import Rehearsal, names


@cheats(errors.Isolated)
def dropped_neighbours_so_that_one_client_is_alone() -> None:
    """Of 60 clients 40 are neighbours: all that are left are strangers to the victim."""
    rehearsal = Rehearsal(names(60), SecureAggregation(dropout=0.3)).until("masked")
    state = rehearsal.shared[VICTIM]
    near = [a.name for a in state.neighbours]
    floor, threshold = rehearsal.setup.survivors, rehearsal.setup.threshold
    strangers = [n for n in rehearsal.members if n not in near]
    left = sorted([*strangers, *near[: max(0, floor - len(strangers))]])
    assert floor <= len(left)
    assert len(set(left) & set(near)) < threshold
    delivery = Delivery(state.keys, tuple(left), ())
    client.contribute(rehearsal.parties[VICTIM], state, delivery, rehearsal.vector(VICTIM))


@cheats(errors.TooFewSurvivors)
def keys_of_honest_clients_left_out_so_that_more_of_those_to_draw_from_are_corrupt() -> None:
    """Of 100 clients 30 may be corrupt and 10 may leave: with 20 honest ones left out, 3 in 8 are corrupt."""
    rehearsal = Rehearsal(names(100), SecureAggregation(corrupt=0.3, dropout=0.1)).until("shares")
    left = rehearsal.server.adverts.adverts[:80]
    assert len(left) > rehearsal.setup.survivors
    adverts = replace(rehearsal.server.adverts, adverts=left)
    client.share(rehearsal.parties[VICTIM], rehearsal.joined[VICTIM], adverts)


@cheats(errors.TooFewSurvivors)
def too_few_sharers() -> None:
    contribute(lambda d: replace(d, sharers=first(d.sharers, 5), received=()))


@cheats(errors.NotAMember)
def a_sharer_that_is_not_in_the_cohort() -> None:
    contribute(lambda d: replace(d, sharers=tuple(sorted([*d.sharers, "stranger"]))))


@cheats(errors.StaleRound)
def shares_replayed_from_an_earlier_round() -> None:
    earlier = at("masked", round=2)
    contribute(lambda d: earlier.server.delivery(VICTIM))


@cheats(errors.BadSignature)
def shares_of_a_client_with_other_keys_than_it_signed() -> None:
    def swap(delivery: Delivery) -> Delivery:
        one, *others = delivery.received
        forged = replace(one, sender=replace(one.sender, mask_key=Agreement(bytes([7]) * 32).public))
        return replace(delivery, received=(forged, *others))

    contribute(swap)
