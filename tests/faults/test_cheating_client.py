"""A client that cheats is dropped by name, or fails the round by its name; it never spoils a sum unseen."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hedgerow.ring.vector import RingVector
from hedgerow.secure import client, errors
from hedgerow.secure.messages import Commitments, Masked, Revealed
from hedgerow.secure.primitives import Agreement, sign
from tests.secure_round import Rehearsal, identity_of, names, same, scripts, secret_of, shape_of

CHEAT = "client-003"
COHORT = names(10)

SCRIPTS, cheats = scripts()


def before(stage: str) -> Rehearsal:
    """A round in which the cheat has not yet answered this stage, and the others have."""
    rehearsal = Rehearsal(COHORT, shape=shape_of(10, bits=11)).until(stage)
    getattr(rehearsal, stage)(lambda at, name: name == CHEAT)
    return rehearsal


def advert(rehearsal: Rehearsal):
    return client.join(rehearsal.parties[CHEAT], rehearsal.setup)[0]


# Keys


@cheats(errors.WrongIdentity)
def the_identity_of_another() -> None:
    rehearsal = before("keys")
    other = client.join(replace(rehearsal.parties["client-005"], name="client-005"), rehearsal.setup)[0]
    rehearsal.server.add_advert(CHEAT, other)


@cheats(errors.WrongIdentity)
def the_name_of_another_with_its_own_key() -> None:
    rehearsal = before("keys")
    party = replace(rehearsal.parties[CHEAT], secret=secret_of("mallory"))
    rehearsal.server.add_advert(CHEAT, client.join(party, rehearsal.setup)[0])


@cheats(errors.BadSignature)
def a_wrong_signature() -> None:
    rehearsal = before("keys")
    rehearsal.server.add_advert(CHEAT, replace(advert(rehearsal), signature=bytes(64)))


@cheats(errors.AlreadyAnswered)
def two_different_sets_of_keys() -> None:
    rehearsal = before("keys")
    rehearsal.server.add_advert(CHEAT, advert(rehearsal))
    rehearsal.server.add_advert(CHEAT, advert(rehearsal))


@cheats(errors.KeysChanged)
def the_keys_of_another_as_its_own() -> None:
    rehearsal = before("keys")
    taken = rehearsal.joined["client-005"].advert
    mine = replace(advert(rehearsal), mask_key=taken.mask_key)
    signature = sign(secret_of(CHEAT), mine.signed(rehearsal.setup.session))
    rehearsal.server.add_advert(CHEAT, replace(mine, signature=signature))


@cheats(errors.KeysChanged)
def a_key_of_low_order() -> None:
    rehearsal = before("keys")
    mine = replace(advert(rehearsal), share_key=bytes(32))
    signature = sign(secret_of(CHEAT), mine.signed(rehearsal.setup.session))
    rehearsal.server.add_advert(CHEAT, replace(mine, signature=signature))


@cheats(errors.BadSignature)
def keys_replayed_from_an_earlier_round() -> None:
    earlier = Rehearsal(COHORT, changed={"round": 2})
    rehearsal = before("keys")
    rehearsal.server.add_advert(CHEAT, advert(earlier))


@cheats(errors.NotAMember)
def keys_of_a_client_that_was_not_asked() -> None:
    rehearsal = before("keys")
    rehearsal.server.add_advert("mallory", replace(advert(rehearsal), name="mallory"))


# Shares


@cheats(errors.StaleRound)
def shares_replayed_from_an_earlier_round() -> None:
    earlier, rehearsal = Rehearsal(COHORT, changed={"round": 2}).until("shares"), before("shares")
    old = client.share(earlier.parties[CHEAT], earlier.joined[CHEAT], earlier.server.adverts)[0]
    rehearsal.server.add_shares(CHEAT, old)


@cheats(errors.TooFewNeighbours)
def shares_for_few_so_that_it_cannot_be_unmasked() -> None:
    rehearsal = before("shares")
    shares = client.share(rehearsal.parties[CHEAT], rehearsal.joined[CHEAT], rehearsal.server.adverts)[0]
    rehearsal.server.add_shares(CHEAT, replace(shares, boxes=shares.boxes[:3]))


@cheats(errors.BadShare)
def shares_that_do_not_give_the_seed_it_committed_to() -> None:
    """Seen when the sum is made: the round fails by its name, and no wrong sum comes out."""
    rehearsal = before("shares")
    shares, rehearsal.shared[CHEAT] = client.share(
        rehearsal.parties[CHEAT], rehearsal.joined[CHEAT], rehearsal.server.adverts
    )
    rehearsal.server.add_shares(CHEAT, replace(shares, self_mask=bytes(32)))
    for stage in ("masked", "survivors", "unmask"):
        getattr(rehearsal, stage)()
    rehearsal.server.unmasked()


# Masked vectors


def send(change: Callable[[Masked, RingVector], tuple[Masked, RingVector]]) -> None:
    rehearsal = before("masked")
    said, vector, _ = client.contribute(
        rehearsal.parties[CHEAT],
        rehearsal.shared[CHEAT],
        rehearsal.server.delivery(CHEAT),
        rehearsal.vector(CHEAT),
    )
    before_it = rehearsal.server.sum.values.copy()
    try:
        rehearsal.server.add_masked(CHEAT, *change(said, vector))
    finally:
        assert (rehearsal.server.sum.values == before_it).all()


@cheats(errors.WrongShape)
def a_masked_vector_of_another_length() -> None:
    send(lambda said, vector: (said, RingVector(vector.values[:-1], vector.words)))


@cheats(errors.WrongShape)
def a_masked_vector_of_another_type() -> None:
    send(lambda said, vector: (said, RingVector(vector.values.astype(np.uint32), vector.words)))


@cheats(errors.WrongShape)
def too_many_words() -> None:
    send(lambda said, vector: (said, RingVector(vector.values, np.append(vector.words, vector.words))))


@cheats(errors.OutOfRing)
def a_value_outside_the_ring() -> None:
    send(lambda said, vector: (said, RingVector(vector.values | np.uint16(2**11), vector.words)))


@cheats(errors.StaleRound)
def a_vector_of_an_earlier_round() -> None:
    send(lambda said, vector: (Masked(bytes(32), ()), vector))


@cheats(errors.AlreadyAnswered)
def a_vector_twice() -> None:
    rehearsal = Rehearsal(COHORT).until("survivors")
    said = Masked(rehearsal.server.adverts.keys, ())
    rehearsal.server.add_masked(CHEAT, said, rehearsal.vector(CHEAT))


# Survivors and shares


@cheats(errors.BadSignature)
def a_signature_of_another_list() -> None:
    rehearsal = before("survivors")
    other = replace(rehearsal.server.survivors, alive=COHORT[:-1], dead=COHORT[-1:])
    signed = client.confirm(rehearsal.parties[CHEAT], rehearsal.contributed[CHEAT], other)[0]
    rehearsal.server.add_signature(CHEAT, signed)


def answer(change: Callable[[Revealed], Revealed], name: str = CHEAT) -> None:
    rehearsal = before("unmask")
    rehearsal.confirmed[CHEAT] = client.confirm(
        rehearsal.parties[CHEAT], rehearsal.contributed[CHEAT], rehearsal.server.survivors
    )[1]
    told = client.reveal(rehearsal.parties[CHEAT], rehearsal.confirmed[CHEAT], rehearsal.server.unmask)
    rehearsal.server.add_revealed(name, change(told))


@cheats(errors.BadShare)
def a_changed_share() -> None:
    answer(lambda told: replace(told, shares=(replace(told.shares[0], value=bytes(33)), *told.shares[1:])))


@cheats(errors.BadShare)
def a_share_of_the_wrong_secret() -> None:
    answer(lambda told: replace(told, shares=(replace(told.shares[0], of_dead=1), *told.shares[1:])))


@cheats(errors.BadShare)
def the_share_of_another_client() -> None:
    answer(lambda told: replace(told, shares=(replace(told.shares[0], owner=CHEAT), *told.shares[4:])))


@cheats(errors.DuplicateMember)
def a_share_twice() -> None:
    answer(lambda told: replace(told, shares=(told.shares[0], *told.shares)))


@cheats(errors.AlreadyAnswered)
def shares_in_the_name_of_another() -> None:
    answer(lambda told: told, name="client-005")


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_is_refused_by_name(name: str) -> None:
    script, error = SCRIPTS[name]
    with pytest.raises(error) as caught:
        script()
    assert type(caught.value) is error


def test_there_are_as_many_scripts_as_we_think() -> None:
    assert len(SCRIPTS) == 23


@pytest.mark.parametrize("stage", ["keys", "shares", "masked", "survivors", "unmask"])
def test_the_others_finish_without_the_cheat(stage: str) -> None:
    rehearsal = before(stage)
    stages = ("keys", "shares", "masked", "survivors", "unmask")
    for later in stages[stages.index(stage) + 1 :]:
        getattr(rehearsal, later)()
    assert same(rehearsal.server.unmasked(), rehearsal.expected())


def test_shares_that_the_cheat_did_not_commit_to_are_named_by_who_gets_them() -> None:
    rehearsal = before("shares")
    shares, rehearsal.shared[CHEAT] = client.share(
        rehearsal.parties[CHEAT], rehearsal.joined[CHEAT], rehearsal.server.adverts
    )
    boxes = tuple(
        replace(box, committed=Commitments(bytes(32), bytes(32))) if box.recipient == "client-005" else box
        for box in shares.boxes
    )
    rehearsal.server.add_shares(CHEAT, replace(shares, boxes=boxes))
    said, _, _ = client.contribute(
        rehearsal.parties["client-005"],
        rehearsal.shared["client-005"],
        rehearsal.server.delivery("client-005"),
        rehearsal.vector("client-005"),
    )
    assert said.complaints == (CHEAT,)


def test_who_dies_and_had_shared_another_key_than_its_own_fails_the_round_by_name() -> None:
    rehearsal = before("shares")
    lying = replace(rehearsal.joined[CHEAT], mask_secret=bytes(range(32)))
    shares, rehearsal.shared[CHEAT] = client.share(rehearsal.parties[CHEAT], lying, rehearsal.server.adverts)
    rehearsal.server.add_shares(CHEAT, shares)
    assert Agreement(bytes(range(32))).public != rehearsal.joined[CHEAT].advert.mask_key
    rehearsal.masked(lambda at, name: name == CHEAT)
    for stage in ("survivors", "unmask"):
        getattr(rehearsal, stage)()
    with pytest.raises(errors.BadShare, match=f"'{CHEAT}' do not match its mask key"):
        rehearsal.server.unmasked()


def test_identities_of_the_tests_are_all_different() -> None:
    assert len({identity_of(name) for name in COHORT}) == len(COHORT)
