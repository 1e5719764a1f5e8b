"""What a device keeps of secrets: no log, error or context shows them, and what is over is gone."""

import os
import traceback

import pytest

from hedgerow.client.secure.enrolment import KEY, enrol, load_enrolment
from hedgerow.secure.errors import Malformed, OutOfOrder
from hedgerow.secure.primitives import Secret
from tests.enrolled import STAGES

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no modes")


def told(error: BaseException) -> str:
    """What a logger shows that prints the variables of each frame too; without the test's own."""
    assert error.__traceback__ is not None
    below = error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, below, capture_locals=True).format())


@pytest.mark.parametrize("stage", STAGES)
def test_neither_a_context_nor_an_error_nor_a_log_shows_a_secret(cohort, stage, caplog) -> None:
    cohort.until(stage)
    device = cohort.devices[0]
    shown = [repr(cohort.contexts[device]), str(cohort.contexts[device])]
    for wrong in cohort.wrong_messages(stage):
        try:
            cohort.app(wrong, cohort.contexts[device])
        except Exception as error:
            shown += [told(error), repr(error)]
    secrets = cohort.secrets(device)
    assert len(secrets) >= {"keys": 1, "unmask": 1}.get(stage, 3)
    for secret in secrets:
        for text in (*shown, caplog.text):
            assert repr(bytes(secret))[2:-1] not in text
            assert bytes(secret).hex() not in text
    assert len(shown) > 3


def test_what_cannot_be_opened_tells_nothing_of_a_key_file(tmp_path) -> None:
    enrol(tmp_path)
    good = (tmp_path / KEY).read_text().strip()
    for text in (good[:-1] + "x", good[:-2], good + "é", "0" * 64, "f" * 64):
        (tmp_path / KEY).write_text(text)
        with pytest.raises(Malformed, match="holds no secret key") as caught:
            load_enrolment(tmp_path)
        assert text[:40] not in told(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_a_secret_prints_as_its_length() -> None:
    secret = Secret(b"canary")
    assert {repr(secret), str(secret), f"{secret}", f"{secret!r}"} == {"Secret(6 bytes)"}
    assert secret == b"canary"


@pytest.mark.parametrize("how", ["failed", "another round", "another run"])
def test_an_abandoned_round_leaves_nothing_that_opens_its_shares(cohort, how) -> None:
    cohort.until("unmask")
    device = cohort.devices[0]
    copy, content = cohort.kept(device), cohort.content(device, "unmask")  # as somebody found them
    if how == "failed":
        cohort.ask(device, "failed")
    else:
        cohort.begin(*((2, "run") if how == "another round" else (1, "new")))
        cohort.ask(device, "keys", cohort.context(device) if how == "another run" else None)
    cohort.put_back(device, copy)
    with pytest.raises(OutOfOrder):
        cohort.app(cohort.message("unmask", content), cohort.contexts[device])


def test_a_late_word_that_an_old_run_has_failed_ends_no_round_of_a_new_one(cohort) -> None:
    cohort.until("shares")
    device = cohort.devices[0]
    old = cohort.copy(device)
    cohort.begin(1, "new")
    cohort.contexts = {name: cohort.context(name) for name in cohort.devices}
    cohort.until("shares")
    cohort.ask(device, "failed", old)
    cohort.ask(device, "shares")
