"""What people write by mistake is answered with what to write; what is nearly right is taken."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import hedgerow as hr
from hedgerow.client.data import held_out_samples
from hedgerow.server.failures import EveryClientFailed
from hedgerow.wording import shown
from tests.api.right_arguments import DATASET, RIGHT, SAMPLES, STRATEGY, TASK, a_call
from tests.support import MeanTrainer, clients

pytestmark = pytest.mark.usefixtures("in_a_folder_with_a_model")


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (
            "simulate",
            {"clients": DATASET},
            "clients is a Dataset; it must be a Federation, such as dataset.split",
        ),
        ("simulate", {"test": (SAMPLES.x, SAMPLES.y)}, "test is a tuple; .* such as dataset.test or Samples"),
        (
            "simulate",
            {"test": DATASET},
            "test is a Dataset; it must be Samples or None, such as dataset.test",
        ),
        (
            "simulate",
            {"task": nn.Linear(2, 2)},
            r"task is a Linear; it must be a Task, such as Task\(MyModel\)",
        ),
        (
            "simulate",
            {"strategy": "fedavg"},
            r"strategy is 'fedavg'; it must be a Strategy, such as fedavg\(\)",
        ),
        ("simulate", {"strategy": hr.fedavg}, "strategy is the function fedavg; it must be a Strategy"),
        ("simulate", {"rounds": 2.5}, "rounds is 2.5; it must be a whole number of at least 0"),
        ("simulate", {"evaluate_every": 0}, "evaluate_every is 0; it must be a whole number of at least 1"),
        ("simulate", {"round": 3}, "simulate.. has no argument 'round'; .* Did you mean 'rounds'"),
        ("fedavg", {"local": {"epochs": 2}}, r"local is {'epochs': 2}; .* such as LocalTraining\(epochs=2\)"),
        ("fedprox", {"local": {"epochs": 2}}, "local is {'epochs': 2}; it must be a LocalTraining"),
        ("fedavg", {"pipeline": "quantize(8)"}, "pipeline is 'quantize.8.'; .* parse_pipeline"),
        ("fedavg", {"sampling": "uniform"}, r"sampling is 'uniform'; .* such as uniform\(10\)"),
        ("fedavg", {"aggregate": hr.median}, "aggregate is the function median; .* parse_aggregate"),
        (
            "fedadam",
            {"server_lr": 0.1},
            "has no argument 'server_lr'; .* Did you mean 'server_learning_rate'",
        ),
        (
            "LocalTraining",
            {"lr": 0.1},
            "LocalTraining.. has no argument 'lr'; it has 'optimizer', 'learning_rate'",
        ),
        (
            "LocalTraining",
            {"epochs": 2.0},
            "epochs is 2.0; it must be a whole number of at least 1, such as 2",
        ),
        ("iid", {"clients": 10**20}, f"it must be a whole number of at least 1 and at most {2**63 - 1}$"),
        ("iid", {"clients": True}, "clients is True; it must be a whole number"),
        ("client_app", {"data": DATASET}, "data is a Dataset; it must be a Federation"),
    ],
)
def test_what_people_write_by_mistake_is_answered_with_what_to_write(name, given, said):
    with pytest.raises((TypeError, ValueError), match=said):
        a_call(name, {**RIGHT[name], **given})


@pytest.mark.parametrize("join", [hr.chain, hr.error_feedback, hr.entropy])
@pytest.mark.parametrize("step", ["quantize(8)", hr.quantize, None, 8])
def test_a_step_that_is_none_is_named(join, step):
    with pytest.raises(ValueError, match=f"a step is {re.escape(shown(step))}; it must be a Transform"):
        join(hr.top_k(0.1), step)


@pytest.mark.parametrize(
    ("make", "said"), [("dp", "make is 'dp'"), (lambda noise: noise, "make gives is 1.0")]
)
def test_what_is_calibrated_makes_a_strategy(make, said):
    with pytest.raises(ValueError, match=said):
        hr.calibrated(make, rounds=3)


def test_a_split_is_by_a_partition():
    with pytest.raises(ValueError, match=r"partition is 10; it must be a Partition, such as iid\(10\)"):
        DATASET.split(10)
    assert len(DATASET.split(hr.iid(2), seed=np.int64(1))) == 2


@pytest.mark.parametrize("given", ["torch", "float64", "list"])
def test_samples_and_models_of_other_libraries_and_types_are_converted(given):
    wanted = np.array([[1.5, 2.5], [0.5, 0.0]], np.float32)
    x = {
        "torch": torch.from_numpy(wanted).double(),
        "float64": wanted.astype(float),
        "list": wanted.tolist(),
    }[given]
    samples = hr.Samples(x, torch.tensor([0, 1], dtype=torch.int32))
    assert samples.x.dtype == np.float32
    assert samples.y.dtype == np.int64
    assert (samples.x == wanted).all()
    model = hr.Model(x[0])
    assert model.parameters.dtype == np.float32
    assert model.parameters.tolist() == wanted[0].tolist()


def test_samples_that_are_right_are_not_copied():
    x, y = np.zeros((3, 2), np.float32), np.zeros(3, np.int64)
    samples = hr.Samples(x, y)
    assert samples.x is x
    assert samples.y is y
    assert hr.Model(x[0]).parameters.base is x


def test_a_mistake_in_a_run_makes_no_folder(tmp_path):
    with pytest.raises(ValueError, match="test is 1"):
        next(hr.simulate(MeanTrainer(), clients(2), STRATEGY, rounds=1, test=1, folder=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


class Own:
    """Clients' data of a class of the user's own."""

    def __init__(self, names, samples=SAMPLES) -> None:
        self.names, self._samples = names, samples

    def samples(self, name):
        return self._samples

    held_out = samples


@pytest.mark.parametrize(
    "names", [(1, 2), "ab", ("a", "a"), {"a", "b"}, (n for n in "ab"), np.array(["a", "b"]), 2]
)
def test_names_of_clients_are_different_texts(names):
    with pytest.raises(
        ValueError, match=r"names of clients is .*; it must be a list of distinct strings, one for each"
    ):
        a_call("simulate", {**RIGHT["simulate"], "clients": Own(names)})


@pytest.mark.parametrize("given", [None, (SAMPLES.x, SAMPLES.y), SAMPLES.x, hr.Samples])
def test_what_a_client_has_instead_of_samples_is_named(given):
    said = f"data of client 'a' is {re.escape(shown(given))}; it must be Samples, such as Samples"
    results = hr.simulate(TASK, Own(["a", "b"], given), STRATEGY, rounds=1)
    with pytest.raises(EveryClientFailed, match=said):
        next(results)
    with pytest.raises(ValueError, match=said):
        held_out_samples(Own(["a"], given), "a")
