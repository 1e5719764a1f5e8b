"""What a device tells by failing, or by another name, is counted as what it tells by answering."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from hedgerow.client import account
from hedgerow.client.app import client_app
from hedgerow.client.discretion import ClientFailed
from hedgerow.client.flower import node_enrolment
from hedgerow.client.guard import Guard, node_guard
from hedgerow.experiments.config import schema
from hedgerow.experiments.config.device_recipe import device_run
from hedgerow.privacy.ledger import Ledger
from hedgerow.secure.errors import Malformed
from hedgerow.simulation import flower
from hedgerow.types import Fit
from hedgerow.types.training import Diverged
from tests.attacks.devices import OPEN, Device, request, rules
from tests.attacks.test_policy_accounts import SAMPLED, noised
from tests.faults.test_device import PRIVATE_SAMPLES
from tests.faults.test_secure_client import TRAINER, Federation
from tests.flower_messages import pack_train
from tests.support import MeanTrainer, clients

MUCH, NOTHING = "local.learning_rate=1e300", "local.learning_rate=1e-45"


def test_a_model_is_measured_under_no_other_name_that_no_limit_counts(tmp_path) -> None:
    """Flower takes `evaluate.default` for `evaluate`."""
    device = Device(tmp_path / "device", replace(OPEN, most_answers=1))
    told = device.refused("evaluate.default", "heart", "data.held_out=0.2", content=request())
    assert rules(told) == {"messages"}


def test_an_error_in_place_of_an_update_is_an_answer(tmp_path) -> None:
    """A server that chooses the model could ask by what diverges, as often as it likes."""
    device = Device(tmp_path / "device", replace(OPEN, most_answers=2))
    for round in (1, 2):
        assert "rule" not in device.refused("train", "heart", MUCH, content=request(), round=round)
    assert rules(device.refused("train", "heart", content=request())) == {"most_answers"}
    assert [(line["kind"], line["bytes"]) for line in device.answers] == [("train", 0)] * 2


def test_what_is_refused_before_the_data_are_looked_at_is_none(tmp_path) -> None:
    device = Device(tmp_path / "device", replace(OPEN, most_answers=1))
    device.refused("train", "heart", content=RecordDict())
    device.refused("train", "private-secure", content=request())
    assert not device.answers


@pytest.mark.parametrize("rate", [MUCH, NOTHING], ids=["it diverges", "the same answer each time"])
def test_each_training_with_noise_is_in_the_account_whatever_comes_of_it(rate: str, tmp_path) -> None:
    """Neither an error nor an update that is 0 each time is free: its chance tells of the noised sums."""
    device = Device(tmp_path / "device", replace(OPEN, sample_epsilon=50.0))
    for _ in range(2):
        message = "heart", *SAMPLED, rate
        if rate == MUCH:
            device.refused("train", *message, content=request(SAMPLED))
        else:
            device.ask("train", *message, content=request(SAMPLED))
    assert node_guard(device.config).ledgers()["sample_epsilon"].releases == 2


def test_of_two_requests_at_once_the_second_finds_the_first_in_the_account(tmp_path) -> None:
    local = replace(PRIVATE_SAMPLES.local, sample_epsilon=1.01 * account.spent(PRIVATE_SAMPLES.local, 1))
    asked = []

    class Asked(MeanTrainer):
        supports = PRIVATE_SAMPLES.needs

        def fit(self, *arguments, **options):
            asked.append(options["round"])
            with pytest.raises(account.BudgetSpent):
                ask(2)
            return super().fit(*arguments, **{k: v for k, v in options.items() if k != "seeded_noise"})

    app = client_app(Asked(), clients(1), replace(PRIVATE_SAMPLES, local=local), state_folder=tmp_path)

    def ask(round: int) -> None:
        content = pack_train(MeanTrainer().initial(0), MeanTrainer().layout, round=round, seed=0)
        context = Context(1, 1, {"client-name": "client-000"}, RecordDict(), {})
        with flower.task_identity(1):
            app(flower.instruction(1, "m", 1, content, message_type="train", group_id="1"), context)

    ask(1)
    assert asked == [1]
    (file,) = tmp_path.glob("*/privacy.jsonl")
    assert Ledger(account.budget(local), file).releases == 1


@pytest.mark.parametrize("diverges", ["an error", "a value"])
def test_under_noise_of_clients_what_diverges_is_nothing_learned_and_no_sign(diverges, monkeypatch) -> None:
    def fit(*arguments, **options):
        if diverges == "an error":
            raise Diverged("the loss is infinite")
        return Fit(np.full(TRAINER.layout.dimension, np.nan, np.float32), np.empty(0, np.float32), 3)

    monkeypatch.setattr(type(TRAINER), "fit", fit)
    federation = Federation(strategy=noised(2.0)).until("end")
    assert federation.server.unmasked().weight == 5
    with pytest.raises(ClientFailed):  # without noise nothing is promised, and nothing is made up
        Federation().until("end")


def test_trust_on_first_use_is_no_text(tmp_path) -> None:
    config = {"enrolment": str(tmp_path), "trust-on-first-use": "false"}
    with pytest.raises(Malformed, match="true or false"):
        node_enrolment(Context(1, 1, config, RecordDict(), {}), "a")


def test_a_row_more_in_a_devices_file_is_one_sample_more_that_it_trains_on(tmp_path) -> None:
    """Test samples drawn among all rows would be others then, and 40 of 160 would change places."""

    def trained(rows: int) -> set[float]:
        file = tmp_path / "jane-doe.csv"
        file.write_text("\n".join(["id,sick", *(f"{i},{i % 2}" for i in range(rows))]) + "\n")
        guard = Guard(OPEN, data=str(file), data_options=(("label", "sick"),))
        return set(device_run("heart", [], guard, "clinic").data().samples("clinic").x[:, 0].tolist())

    few = trained(200)
    schema._load.cache_clear()  # the file has changed, which no running device expects
    assert len(trained(201) ^ few) == 1
