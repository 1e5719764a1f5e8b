"""A server that has clients measure under a mask gets one sum of a cohort, and nothing of training by it."""

from dataclasses import replace

import numpy as np
import pytest

from hedgerow.client.secure.enrolment import enrol
from hedgerow.secure.codec import encode
from hedgerow.secure.errors import (
    AlreadyAnswered,
    CohortTooSmall,
    NotMasked,
    OutOfOrder,
    StaleRound,
    TooFewSurvivors,
    WrongModel,
    WrongPurpose,
    WrongShape,
)
from hedgerow.secure.messages import EVALUATE, TRAIN
from hedgerow.strategies import cyclic, secure_dp_fedavg
from hedgerow.strategies.measuring import measured_means
from tests.described_runs import MASKED, OPEN, announced, asked, evaluation_keys, installed, joined, keys
from tests.flower_messages import pack_stage, pack_train
from tests.masked_evaluations import DATA, MODEL, STAGES, TRAINER, Cohort

ANY = DATA.names[2]
OTHER = {TRAIN: EVALUATE, EVALUATE: TRAIN}


def evaluating(stage: str = "keys", **options) -> Cohort:
    cohort = Cohort()
    cohort.begin(EVALUATE, **options)
    return cohort.until(stage)


def test_a_whole_evaluation_gives_the_means_and_leaves_no_secret_behind() -> None:
    cohort = evaluating("end")
    found = measured_means(cohort.server.unmasked(), 5)
    held = [samples for name in DATA.names if len(samples := DATA.held_out(name))]
    losses = [TRAINER.evaluate(MODEL, samples)["loss"] for samples in held]
    assert found["loss"] == pytest.approx(np.average(losses, weights=[len(s) for s in held]), abs=1e-6)
    for context in cohort.contexts.values():
        assert dict(context.state["hedgerow.secure.round"]) == {"state": b"", "done": True}


@pytest.mark.parametrize("purpose", [TRAIN, EVALUATE])
@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_of_training_serves_an_evaluation_nor_the_other_way_round(purpose, stage) -> None:
    cohort = Cohort()
    cohort.begin(purpose)
    cohort.until(stage)
    with pytest.raises(WrongPurpose):
        cohort.ask(ANY, f"{OTHER[purpose]}.{stage}", cohort.content(ANY, stage))
    cohort.stage(stage)  # as before


def test_an_evaluation_under_the_name_of_a_training_round_is_refused() -> None:
    cohort = evaluating()
    with pytest.raises(WrongPurpose):
        cohort.ask(ANY, "evaluate.keys", pack_stage(encode(replace(cohort.setup, run="run"))))


def test_what_is_masked_in_an_evaluation_has_no_room_for_an_update() -> None:
    cohort, training = evaluating(), Cohort()
    training.begin(TRAIN)
    shape = {"bits": training.setup.bits, "length": training.setup.length, "words": training.setup.words}
    with pytest.raises(WrongShape):
        cohort.ask(ANY, "evaluate.keys", pack_stage(encode(replace(cohort.setup, **shape))))
    cohort = evaluating("masked")
    reply = cohort.ask(ANY, "evaluate.masked", cohort.content(ANY, "masked"))
    sizes = {name: array.numpy().shape for name, array in reply["vector"].items()}
    assert sizes == {"values": (0,), "words": (7,)}


def test_a_masked_vector_of_an_evaluation_looks_random_and_differs_in_every_round() -> None:
    seen = []
    for round in (1, 2):
        cohort = evaluating("masked", round=round)
        seen.append(cohort.ask(ANY, "evaluate.masked", cohort.content(ANY, "masked"))["vector"]["words"])
    first, second = (np.unpackbits(words.numpy().view(np.uint8)) for words in seen)
    assert len(first) == 448
    for bits in (first, second, first ^ second):  # 6 standard deviations of a fair coin
        assert abs(bits.mean() - 0.5) < 6 * 0.5 / np.sqrt(448)


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_of_an_evaluation_is_answered_once(stage) -> None:
    cohort = evaluating(stage)
    content = cohort.content(ANY, stage)
    cohort.ask(ANY, f"evaluate.{stage}", content)
    with pytest.raises((AlreadyAnswered, OutOfOrder)):
        cohort.ask(ANY, f"evaluate.{stage}", content)


@pytest.mark.parametrize("ended", ["shares", "masked", "end"])
def test_a_second_evaluation_of_a_round_with_one_client_less_is_refused(ended) -> None:
    """Of two such sums the difference would be what that client has measured."""
    cohort = evaluating(ended)
    cohort.begin(EVALUATE, members=DATA.names[:4])
    with pytest.raises(AlreadyAnswered):
        cohort.stage("keys")
    cohort.begin(EVALUATE, round=2)
    cohort.until("end")
    cohort.begin(EVALUATE, round=1)
    with pytest.raises(StaleRound):
        cohort.stage("keys")


def test_a_cohort_that_has_shrunk_under_the_floor_is_not_unmasked() -> None:
    cohort = evaluating()
    cohort.begin(EVALUATE, members=DATA.names[:3])
    with pytest.raises(CohortTooSmall):
        cohort.stage("keys")
    cohort = evaluating("survivors")
    survivors = cohort.server.survivors
    fewer = replace(survivors, alive=survivors.alive[:2], dead=survivors.alive[2:])
    with pytest.raises(TooFewSurvivors):
        cohort.ask(survivors.alive[0], "evaluate.survivors", pack_stage(encode(fewer)))


def test_all_clients_measure_the_model_that_they_agreed_on() -> None:
    cohort = evaluating("masked")
    other = replace(MODEL, parameters=MODEL.parameters + np.float32(1))
    cohort.request = pack_train(other, TRAINER.layout, round=1, seed=0, clients=5)
    with pytest.raises(WrongModel):
        cohort.ask(ANY, "evaluate.masked", cohort.content(ANY, "masked"))


def test_beside_training_a_round_of_the_same_number_is_measured_once() -> None:
    cohort = evaluating("end")
    cohort.begin(TRAIN)
    cohort.until("end")
    cohort.begin(EVALUATE)
    with pytest.raises(AlreadyAnswered):
        cohort.stage("keys")


def test_beside_noise_nothing_is_measured_at_any_stage() -> None:
    noised = secure_dp_fedavg(
        0.5, 2.0, corrupt=0.0, dropout=0.0, min_clients=5, sampling=cyclic(5, population=15)
    )
    cohort = Cohort(noised)
    cohort.begin(EVALUATE)
    for stage in (*STAGES, "failed"):
        with pytest.raises(NotMasked):
            cohort.ask(ANY, f"evaluate.{stage}", pack_stage(encode(cohort.setup)))


def test_nothing_is_measured_in_the_clear() -> None:
    cohort = evaluating()
    with pytest.raises(NotMasked):
        cohort.ask(ANY, "evaluate", cohort.request)


@pytest.mark.parametrize("purpose", [TRAIN, EVALUATE])
def test_a_device_opens_an_evaluation_once_whatever_token_it_comes_with(purpose, tmp_path) -> None:
    about, opening = announced(strategy=MASKED), {TRAIN: keys, EVALUATE: evaluation_keys}
    with installed():
        device = joined(tmp_path, OPEN)
        enrol(device._device.folder)

        def ask(which: str, token: str, round: int = 1) -> str:
            return device.answer(f"{which}.keys", "1", asked(about, opening[which](token, round)))

        for which in (purpose, OTHER[purpose]):  # neither stands in the other's way
            assert ask(which, "token") == ask(which, "token")
            with pytest.raises(AlreadyAnswered):
                ask(which, "another token")
        ask(purpose, "token", 2)
        with pytest.raises(StaleRound):
            ask(purpose, "third token")
