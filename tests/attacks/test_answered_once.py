"""Each stage of a round is answered once, whatever has become of the memory of the device."""

import os
import threading

import pytest
from flwr.app import Context, Message

from hedgerow.client.secure.answered_rounds import AnsweredRounds
from hedgerow.files import PRIVATE, private_folder
from hedgerow.secure.errors import AlreadyAnswered, Malformed, OutOfOrder
from tests.enrolled import STAGES, Enrolled

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no modes")


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_answered_once_also_after_the_device_has_lost_its_memory(cohort, stage) -> None:
    cohort.until(stage)
    device = cohort.devices[0]
    before = cohort.kept(device)
    cohort.ask(device, stage)
    cohort.put_back(device, before)  # two messages at once, or a context from before the answer
    with pytest.raises(OutOfOrder if stage == "unmask" else AlreadyAnswered):
        cohort.ask(device, stage)


def test_two_lists_of_survivors_at_the_same_time_give_one_signature(cohort) -> None:
    cohort.until("survivors")
    device = cohort.devices[0]
    content = cohort.content(device, "survivors")
    answers: list[object] = []
    ready = threading.Barrier(2)

    def ask(message: Message, context: Context) -> None:
        ready.wait()
        try:
            answers.append(cohort.app(message, context))
        except AlreadyAnswered as error:
            answers.append(error)

    threads = [
        threading.Thread(target=ask, args=(cohort.message("survivors", content), cohort.copy(device)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyAnswered", "Message"]


def test_what_an_enrolled_device_remembers_lies_in_its_enrolment(cohort) -> None:
    cohort.until("shares")
    for device in cohort.devices:
        (file,) = (cohort.home / device).rglob("secure.json")
        assert file.stat().st_mode & 0o777 == PRIVATE
        assert file.parent.stat().st_mode & 0o777 == 0o700
    # A new process, with nothing in memory.
    with pytest.raises(AlreadyAnswered):
        Enrolled(cohort.home).until("shares")


def test_first_keys_hold_in_many_threads_at_once(tmp_path) -> None:
    memory = AnsweredRounds({}, tmp_path, "a")
    threads = [threading.Thread(target=lambda i=i: memory.learn(str(i), bytes([i] * 32))) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(memory.learned()) == 8


def test_a_salt_is_of_one_round_so_that_no_key_seals_twice(tmp_path) -> None:
    memory = AnsweredRounds({}, tmp_path, "a")
    salts = [memory.join(*joined) for joined in (("run", 1), ("new", 1), ("run", 2))]
    assert len(set(salts)) == 3
    assert memory.salt("run", 2) == salts[-1]
    for ended in (("run", 1), ("new", 1), ("run", 3)):
        with pytest.raises(OutOfOrder, match="nothing is left"):
            memory.salt(*ended)


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": {"a": 3}}', '{"runs": {}, "keys": {}}', "null"])
def test_a_memory_of_another_kind_answers_nothing(cohort, text) -> None:
    folder = private_folder(cohort.home / cohort.devices[0] / cohort.devices[0])
    (folder / "secure.json").write_text(text)
    with pytest.raises(Malformed):
        cohort.ask(cohort.devices[0], "keys")
