"""A policy that cannot be read answers nothing, and no error tells of a device's data."""

import pytest
from flwr.app import Context, RecordDict

from hedgerow.client.app import client_app
from hedgerow.client.guard import node_guard
from hedgerow.client.policy import PolicyError
from hedgerow.client.policy_file import NAME
from hedgerow.experiments.config.recipe import load
from hedgerow.simulation import flower
from hedgerow.strategies import secure_dp_fedavg
from hedgerow.types import Samples
from tests.attacks.devices import OPEN, Device
from tests.faults.test_secure_client import PLAIN as MASKED
from tests.flower_messages import pack_train
from tests.support import Clients, MeanTrainer


def test_a_policy_that_cannot_be_read_or_that_others_can_write_answers_nothing(tmp_path) -> None:
    device = Device(tmp_path / "device", OPEN)
    file = device.folder / NAME
    file.chmod(0o666)
    with pytest.raises(PolicyError, match="chmod go-w"):
        node_guard(device.config)
    assert "rule" not in device.refused("query")
    file.chmod(0o644)
    file.write_text("min_client = 3\n")
    with pytest.raises(PolicyError, match="Did you mean 'min_clients'"):
        node_guard(device.config)
    with pytest.raises(PolicyError, match="cannot be read"):
        node_guard({"policy": str(tmp_path / "absent.toml")})


@pytest.mark.parametrize("key", ["most-rounds", "account"])
def test_a_rule_in_its_old_place_is_not_silently_ignored(key: str, tmp_path) -> None:
    device = Device(tmp_path / "device", OPEN, **{key: 3})
    with pytest.raises(PolicyError, match=f"{key}.*policy"):
        node_guard(device.config)
    device.refused("query")


SAMPLED = ["clip_samples=1.0", "sample_delta=1e-5", "sample_noise=2.0", "sample_rate=0.1"]
PRIVATE_SAMPLES = load("heart", [f"local.{text}" for text in SAMPLED]).strategy()


class Careless(MeanTrainer):
    """Its errors tell of a patient."""

    supports = PRIVATE_SAMPLES.needs

    def fit(self, *arguments, **options):
        raise ValueError("/home/jane-doe/scan-17.png has 3 values that are not finite")


@pytest.mark.parametrize("strategy", [MASKED, secure_dp_fedavg(0.5, 2.0), PRIVATE_SAMPLES])
def test_no_error_of_a_masked_or_private_client_tells_of_its_data(strategy, tmp_path, caplog) -> None:
    class Absent(Clients):
        def samples(self, name: str) -> Samples:
            raise OSError("/home/jane-doe/scan-17.png is not there")

    for trainer, data in ((Careless(), Clients({})), (Careless(), Absent({"ann": None}))):
        client = client_app(trainer, data, strategy)
        context = Context(1, 1, {"client-name": "ann"}, RecordDict(), {})
        for kind in ("query", "train", "train.keys", "train.masked"):
            content = pack_train(MeanTrainer().initial(0), MeanTrainer().layout, round=1, seed=0)
            with flower.task_identity(1), pytest.raises(Exception, match=r"\.$") as caught:
                client(flower.instruction(1, "m", 1, content, message_type=kind, group_id="1"), context)
            assert str(caught.value) == type(caught.value).__doc__.partition("\n")[0]
    assert "jane-doe" in caplog.text, "the device's own log has it"


def test_a_client_says_who_it_is_and_not_how_many_samples_it_has(tmp_path) -> None:
    assert dict(Device(tmp_path / "device", OPEN).ask("query")["hedgerow"]).keys() == {"client"}
