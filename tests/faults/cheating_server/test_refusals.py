"""A server that cheats: every script ends with a named refusal, and with no share revealed."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from hedgerow.secure import client, errors
from hedgerow.secure.messages import Revealed
from tests.faults.cheating_server.stages import COHORT, SCRIPTS, VICTIM, at
from tests.secure_round import Rehearsal

for file in sorted(Path(__file__).parent.glob("*_scripts.py")):
    import_module(f"tests.faults.cheating_server.{file.stem}")

revealed: list[Revealed] = []


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


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_share_is_leaked_and_the_refusal_is_named(name: str) -> None:
    script, error = SCRIPTS[name]
    with pytest.raises(error) as caught:
        script()
    assert type(caught.value) is error
    assert str(caught.value)
    assert revealed == []


def test_there_are_enough_scripts_and_every_error_of_a_client_is_among_them() -> None:
    assert len(SCRIPTS) == 47
    tested = {error for _, error in SCRIPTS.values()}
    elsewhere = {
        # Of what a client keeps in Flower's context: test_secure_client.py.
        errors.AlreadyAnswered, errors.AskedTooOften,
        errors.NotMasked, errors.WrongModel,
        # Of the server: test_cheating_client.py.
        errors.BadShare, errors.OutOfRing, errors.TooFewShares,
    }  # fmt: skip
    kinds = {kind for kind in errors.Refused.__subclasses__() if kind.__module__ == errors.__name__}
    assert tested | elsewhere == kinds


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
