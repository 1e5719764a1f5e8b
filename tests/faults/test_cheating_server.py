"""A server that cheats: every script ends with a named refusal, and with no share revealed."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hedgerow.secure import client, errors
from hedgerow.secure.messages import Advert, Adverts, Delivery, Revealed, Signer, Survivors, Unmask
from hedgerow.secure.primitives import Agreement, sign
from hedgerow.secure.states import Confirmed, Contributed, Joined, Shared, pack, unpack
from hedgerow.strategies.secrecy import SecureAggregation
from tests.secure_round import Rehearsal, identity_of, names, secret_of

VICTIM = "client-004"
COHORT = names(10)

Script = Callable[[], None]
SCRIPTS: dict[str, tuple[Script, type[errors.Refused]]] = {}
revealed: list[Revealed] = []


def cheats(error: type[errors.Refused]) -> Callable[[Script], Script]:
    """A script, and the error that stops it."""

    def add(script: Script) -> Script:
        SCRIPTS[script.__name__] = script, error
        return script

    return add


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    """Every share that a client reveals is seen."""
    revealed.clear()
    honest = client.reveal

    def watching(*arguments):
        answer = honest(*arguments)
        revealed.append(answer)
        return answer

    monkeypatch.setattr(client, "reveal", watching)


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


# Before a round


@cheats(errors.CohortTooSmall)
def a_cohort_smaller_than_the_client_takes_part_in() -> None:
    rehearsal = Rehearsal(COHORT)
    party = replace(rehearsal.parties[VICTIM], secure=SecureAggregation(min_clients=20))
    client.join(party, rehearsal.setup)


@cheats(errors.ThresholdTooLow)
def a_lowered_threshold() -> None:
    join(threshold=SecureAggregation().plan(10).threshold - 1)


@cheats(errors.ThresholdTooLow)
def a_threshold_that_no_neighbours_can_reach() -> None:
    join(threshold=10)


@cheats(errors.TooFewNeighbours)
def too_few_neighbours() -> None:
    join(neighbours=5, threshold=5)


@cheats(errors.SurvivorFloorTooLow)
def a_lowered_floor_of_survivors() -> None:
    join(survivors=2)


@cheats(errors.SurvivorFloorTooLow)
def a_sum_of_so_few_that_the_noise_of_the_honest_ones_is_too_little() -> None:
    rehearsal = Rehearsal(COHORT)
    party = replace(rehearsal.parties[VICTIM], secure=SecureAggregation(dropout=0.0).under(8))
    client.join(party, replace(rehearsal.setup, threshold=9, survivors=9))


@cheats(errors.CohortTooSmall)
def a_cohort_whose_honest_clients_make_too_little_noise() -> None:
    rehearsal = Rehearsal(COHORT)
    party = replace(rehearsal.parties[VICTIM], secure=SecureAggregation().under(9))
    client.join(party, rehearsal.setup)


@cheats(errors.DuplicateMember)
def a_member_twice_to_make_a_small_cohort_look_large() -> None:
    join(members=(*COHORT[:5], *COHORT[4:9]))


@cheats(errors.UnknownIdentity)
def made_up_members_beside_one_real_client() -> None:
    rehearsal = Rehearsal((VICTIM, *names(4)))
    members = (VICTIM, *(f"sybil-{i}" for i in range(9)))
    client.join(rehearsal.parties[VICTIM], replace(rehearsal.setup, members=members))


@cheats(errors.NotAMember)
def a_cohort_without_the_client_that_is_asked() -> None:
    rehearsal = Rehearsal(COHORT)
    others = tuple(n for n in names(11) if n != VICTIM)
    party = replace(rehearsal.parties[VICTIM])
    client.join(party, replace(rehearsal.setup, members=others))


@cheats(errors.WrongShape)
def a_ring_in_which_the_sum_would_overflow() -> None:
    join(bits=4)


@cheats(errors.Malformed)
def a_cohort_in_another_order_for_one_client() -> None:
    join(members=tuple(reversed(COHORT)))


# Keys


@cheats(errors.WrongIdentity)
def swapped_keys_of_a_client_the_server_controls() -> None:
    """The server stands in for everybody else, with keys of its own."""

    def swap(message: Adverts) -> Adverts:
        forged = []
        for advert in message.adverts:
            if advert.name == VICTIM:
                forged.append(advert)
                continue
            key = Agreement(bytes([len(forged) + 1]) * 32).public
            other = Agreement(bytes([len(forged) + 101]) * 32).public
            unsigned = Advert(advert.name, identity_of("server"), key, other, bytes(64))
            forged.append(
                replace(unsigned, signature=sign(secret_of("server"), unsigned.signed(message.session)))
            )
        return replace(message, adverts=tuple(forged))

    share(swap)


@cheats(errors.BadSignature)
def swapped_keys_with_the_right_identities() -> None:
    def swap(message: Adverts) -> Adverts:
        forged = [
            a if a.name == VICTIM else replace(a, mask_key=Agreement(bytes([i + 1]) * 32).public)
            for i, a in enumerate(message.adverts)
        ]
        return replace(message, adverts=tuple(forged))

    share(swap)


@cheats(errors.BadSignature)
def a_forged_signature() -> None:
    share(
        lambda m: replace(
            m, adverts=tuple(a if a.name == VICTIM else replace(a, signature=bytes(64)) for a in m.adverts)
        )
    )


@cheats(errors.KeysChanged)
def the_victims_own_keys_changed() -> None:
    def swap(message: Adverts) -> Adverts:
        key = Agreement(bytes([9]) * 32).public
        return replace(
            message,
            adverts=tuple(replace(a, mask_key=key) if a.name == VICTIM else a for a in message.adverts),
        )

    share(swap)


@cheats(errors.KeysChanged)
def one_key_for_two_clients() -> None:
    def swap(message: Adverts) -> Adverts:
        one, two, *others = message.adverts
        return replace(message, adverts=(one, replace(two, share_key=one.share_key), *others))

    share(swap)


@cheats(errors.DuplicateMember)
def a_client_twice_among_the_keys() -> None:
    share(lambda m: replace(m, adverts=(m.adverts[0], *m.adverts)))


@cheats(errors.TooFewSurvivors)
def keys_of_few_so_that_the_rest_of_the_cohort_is_cut_off() -> None:
    share(lambda m: replace(m, adverts=tuple(a for a in m.adverts if a.name in first(COHORT, 4))))


@cheats(errors.StaleRound)
def keys_replayed_from_an_earlier_round() -> None:
    earlier = at("shares", round=2)
    share(lambda m: earlier.server.adverts)


@cheats(errors.StaleRound)
def a_different_model_for_one_client() -> None:
    """The others have signed keys for another model: they cannot be mixed."""
    others = at("shares", model=bytes(32))
    share(lambda m: others.server.adverts)


@cheats(errors.BadSignature)
def a_different_model_with_the_session_rewritten() -> None:
    others = at("shares", model=bytes(32))

    def rewrite(message: Adverts) -> Adverts:
        mine = {a.name: a for a in message.adverts}
        adverts = tuple(mine[a.name] if a.name == VICTIM else a for a in others.server.adverts.adverts)
        return Adverts(message.session, adverts)

    share(rewrite)


# Shares


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


# Survivors


@cheats(errors.AliveAndDead)
def a_node_both_alive_and_dead() -> None:
    confirm(COHORT, ("client-002",))


@cheats(errors.TooFewSurvivors)
def nearly_all_said_to_be_dead() -> None:
    alive = first(COHORT, 6)
    confirm(alive, tuple(n for n in COHORT if n not in alive))


@cheats(errors.NotAMember)
def the_victim_said_to_be_dead_though_its_vector_was_taken() -> None:
    confirm(tuple(n for n in COHORT if n != VICTIM), (VICTIM,))


@cheats(errors.DuplicateMember)
def a_survivor_twice_to_reach_the_floor() -> None:
    alive = first(COHORT, 6)
    confirm(tuple(sorted([*alive, alive[0]])), tuple(n for n in COHORT if n not in alive))


@cheats(errors.NotAMember)
def a_client_in_neither_list() -> None:
    confirm(COHORT[:-1], ())


@cheats(errors.StaleRound)
def a_list_of_another_round() -> None:
    earlier = at("survivors", round=2)
    rehearsal = at("survivors")
    client.confirm(rehearsal.parties[VICTIM], rehearsal.contributed[VICTIM], earlier.server.survivors)


# Unmasking


@cheats(errors.SplitView)
def another_list_than_the_one_that_was_signed() -> None:
    """The victim has signed that all are alive, and is asked for the shares of one said to be dead."""

    def swap(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        alive = tuple(n for n in COHORT if n != "client-002")
        return replace(message, survivors=replace(message.survivors, alive=alive, dead=("client-002",)))

    reveal(swap)


@cheats(errors.TooFewSurvivors)
def split_views_of_the_survivors() -> None:
    """Half of the cohort signs one list, half another: neither half is enough."""

    def halve(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        signed = {name: state.signature for name, state in rehearsal.confirmed.items()}
        half = first(COHORT, 5)
        return replace(message, signers=tuple(Signer(n, signed[n]) for n in half))

    reveal(halve)


@cheats(errors.BadSignature)
def split_views_made_up_with_signatures_of_the_other_list() -> None:
    def mix(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        other = replace(message.survivors, alive=COHORT[:-1], dead=COHORT[-1:])
        signers = []
        for position, name in enumerate(COHORT[:7]):
            party, state = rehearsal.parties[name], rehearsal.contributed[name]
            listed = message.survivors if position < 4 else other
            signers.append(Signer(name, client.confirm(party, state, listed)[0].signature))
        return replace(message, signers=tuple(signers))

    reveal(mix)


@cheats(errors.DuplicateMember)
def one_signature_counted_often() -> None:
    reveal(lambda m, r: replace(m, signers=(m.signers[0],) * len(m.signers)))


@cheats(errors.NotAMember)
def signatures_of_clients_that_are_not_alive() -> None:
    rehearsal = Rehearsal(COHORT)
    for stage in ("keys", "shares"):
        getattr(rehearsal, stage)()
    rehearsal.masked(lambda stage, name: name == "client-002")
    rehearsal.survivors()
    message = rehearsal.server.unmask
    dead = Signer("client-002", sign(secret_of("client-002"), message.survivors.signed()))
    signers = tuple(sorted([dead, *message.signers[1:]], key=lambda s: s.name))
    client.reveal(rehearsal.parties[VICTIM], rehearsal.confirmed[VICTIM], replace(message, signers=signers))


@cheats(errors.BadSignature)
def signatures_of_the_server_itself() -> None:
    def forge(message: Unmask, rehearsal: Rehearsal) -> Unmask:
        forged = sign(secret_of("server"), message.survivors.signed())
        return replace(message, signers=tuple(Signer(s.name, forged) for s in message.signers))

    reveal(forge)


# The order of stages


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


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_share_is_leaked_and_the_refusal_is_named(name: str) -> None:
    script, error = SCRIPTS[name]
    with pytest.raises(error) as caught:
        script()
    assert type(caught.value) is error
    assert str(caught.value)
    assert revealed == []


def test_there_are_enough_scripts_and_every_error_of_a_client_is_among_them() -> None:
    assert len(SCRIPTS) == 42
    tested = {error for _, error in SCRIPTS.values()}
    elsewhere = {
        # Of what a client keeps in Flower's context: test_secure_client.py.
        errors.AlreadyAnswered, errors.NotMasked, errors.WrongModel,
        # Of the server: test_cheating_client.py.
        errors.BadShare, errors.OutOfRing, errors.TooFewShares,
    }  # fmt: skip
    assert tested | elsewhere == set(errors.Refused.__subclasses__())


def test_a_share_for_somebody_else_is_not_opened_and_its_sender_is_named() -> None:
    rehearsal = at("masked")
    delivery = rehearsal.server.delivery(VICTIM)
    others = rehearsal.server.delivery("client-007")
    wrong = {r.sender.name: r.box for r in others.received}
    sender = delivery.received[0].sender.name
    received = tuple(
        replace(r, box=wrong[sender]) if r.sender.name == sender else r for r in delivery.received
    )
    said, _, state = client.contribute(
        rehearsal.parties[VICTIM],
        rehearsal.shared[VICTIM],
        replace(delivery, received=received),
        rehearsal.vector(VICTIM),
    )
    assert said.complaints == (sender,)
    assert sender not in [held.owner for held in state.held]


def test_what_is_masked_before_a_refusal_tells_nothing_without_shares() -> None:
    """The same vector twice, with fresh keys: the two masked ones have nothing in common."""
    one, two = (Rehearsal(COHORT, seed=seed).until("survivors") for seed in ("a", "b"))
    vectors = [dict(r.transcript)[f"vector {VICTIM}"] for r in (one, two)]
    assert vectors[0] != vectors[1]
    assert (np.frombuffer(vectors[0], np.uint8) == np.frombuffer(vectors[1], np.uint8)).mean() < 0.2


def test_a_survivor_reveals_self_masks_of_the_living_and_keys_of_the_dead_only() -> None:
    rehearsal = Rehearsal(COHORT)
    rehearsal.run(lambda stage, name: name in COHORT[:2] and stage == "masked")
    assert len(revealed) == 8
    for answer in revealed:
        assert all(share.of_dead == (share.owner in COHORT[:2]) for share in answer.shares)
        assert len({share.owner for share in answer.shares}) == len(answer.shares)
