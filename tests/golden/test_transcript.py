"""A whole round is byte for byte the one that is committed: versions of Hedgerow can sum together."""

from tests.golden.make_transcript import FILE, LEAVERS, lines, rehearse
from tests.secure_round import same


def test_every_message_of_a_round_is_the_committed_one() -> None:
    frozen = FILE.read_text().splitlines()
    made = lines()
    assert len(frozen) == 63
    assert [line.partition(":")[0] for line in made] == [line.partition(":")[0] for line in frozen]
    for ours, theirs in zip(made, frozen, strict=True):
        assert ours == theirs, ours.partition(":")[0]


def test_the_frozen_round_has_leavers_and_a_right_sum() -> None:
    rehearsal = rehearse()
    assert rehearsal.server.survivors.dead == ("client-006",)
    assert len(rehearsal.server.survivors.alive) == 10 - len(LEAVERS) + 1
    assert same(rehearsal.server.sum, rehearsal.expected())
