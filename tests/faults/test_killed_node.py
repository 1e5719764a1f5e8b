"""A node that is killed before or after any write comes back to the answers that it would have given."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from hedgerow.client.secure.enrolment import enrol
from hedgerow.node.responder import Responder
from hedgerow.sealed import unsealed
from hedgerow.secure.errors import Refused
from hedgerow.strategies import error_feedback, fedavg, quantize, top_k
from hedgerow.wire.content import Content
from tests.described_runs import MASKED, OPEN, again, announced, asked, installed, joined, keys, train

STATEFUL = fedavg(pipeline=error_feedback(top_k(0.5), quantize(4)))
ROUNDS = [
    ("train", str(round), asked(announced(strategy=STATEFUL), train(round, 0.5 * round)))
    for round in (1, 2, 3)
]
Request = tuple[str, str, Content]


class Killed(BaseException):
    """As by the kernel: nothing after it is done."""


@contextmanager
def killed(at: int, *, after: bool) -> Iterator[Callable[[], int]]:
    """Killed before or after the write of that number; what it gives says how many there were."""
    count, dead = 0, False

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            nonlocal count, dead
            count += not dead
            dead = dead or (count == at and not after)
            if dead:  # what a `finally` tries is not done either
                raise Killed
            found = real(*given)
            dead = count == at
            if dead:
                raise Killed
            return found

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", watched(os.replace))
        patch.setattr(os, "fsync", watched(os.fsync))
        yield lambda: count


def answered(responder: Responder, requests: list[Request]) -> list[bytes | None]:
    return [responder._outbox.answer(responder.answer(*request)) for request in requests]


def writes_until_killed(responder: Responder, requests: list[Request], at: int, *, after: bool) -> int:
    """How many writes there were, as far as it came."""
    with killed(at, after=after) as written, suppress(Killed):
        answered(responder, requests)
    return written()


def test_rounds_with_residuals_are_the_same_after_a_kill_at_any_write(tmp_path) -> None:
    with installed():
        expected = answered(joined(tmp_path / "undisturbed", OPEN), ROUNDS)
        assert len(set(expected)) == 3
        at, total = 0, 2
        while at < total:
            at += 1
            for after in (False, True):
                responder = joined(tmp_path / f"{at} {after}", OPEN)
                total = max(total, writes_until_killed(responder, ROUNDS, at, after=after) + 1)
                assert answered(again(responder), ROUNDS) == expected, (at, after)
        assert total > 20


def test_a_masked_round_is_opened_as_before_or_refused_after_a_kill_at_any_write(tmp_path) -> None:
    """A device whose answer was not written has its round refused by name, and takes the next."""
    about, outcomes = announced(strategy=MASKED), set()
    first, other, later = (
        ("train.keys", "1", asked(about, keys(token, round)))
        for token, round in (("a", 1), ("b", 1), ("a", 2))
    )
    with installed():
        at, total = 0, 2
        while at < total:
            at += 1
            for after in (False, True):
                responder = joined(tmp_path / f"{at} {after}", OPEN)
                enrol(responder._device.folder)
                total = max(total, writes_until_killed(responder, [first], at, after=after) + 1)
                back = again(responder)
                kept = list((back._device.folder / "outbox" / "answers").glob("[0-9a-f]*"))
                before = unsealed(kept[0].read_bytes()) if kept and "." not in kept[0].name else None
                try:
                    (found,) = answered(back, [first])
                    assert before in (None, found)
                    outcomes.add("answered")
                except Refused as error:
                    assert before is None
                    outcomes.add(type(error).__name__)
                with pytest.raises(Refused):
                    answered(back, [other])
                answered(back, [later])
    assert outcomes == {"answered", "AlreadyAnswered"}
