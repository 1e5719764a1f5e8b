"""A device without torch keeps its personal layers, which start where a device with torch has them start."""

import base64
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from hedgerow import generators
from hedgerow.client.state import FolderState
from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.exporting import SampleForm, export_evaluation, export_training
from hedgerow.graphs.agreement import check_run
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.offer import Offer
from hedgerow.graphs.personal import personal_part
from hedgerow.models import build
from hedgerow.node.rehearsed import rehearsed
from hedgerow.node.responder import Responder
from hedgerow.rng import integer_seed
from hedgerow.strategies import Strategy, fedavg, fedbn, fedper
from hedgerow.types import LocalTraining, Model
from hedgerow.types.split import Split
from hedgerow.wire.codec import decode
from hedgerow.wire.messages import pack_train
from hedgerow.wire.replies import unpack_reply
from tests.attacks.test_graphs_on_a_device import BY_KEY, Coordinator
from tests.described_runs import RUN, announced, asked, joined
from tests.graph_files import SECRET

LOCAL = LocalTraining(batch_size=2, learning_rate=0.1, epochs=2)
SEED = 3
MODEL = {"name": "mlp-2nn", "arguments": {"input_shape": [2], "num_classes": 2, "hidden": 4}}
FEDPER = fedper(local=LOCAL)


def task() -> Task:
    return Task(build("mlp-2nn", input_shape=(2,), num_classes=2, hidden=4))


@cache
def start(seed: int = SEED) -> Model:
    with generators.seeded(integer_seed(seed, "initial model")):
        return TorchTrainer(task()).initial(seed)


def split(strategy: Strategy = FEDPER) -> Split:
    return strategy.split(TorchTrainer(task()).layout)


@cache
def graphs(strategy: Strategy = FEDPER, seed: int = SEED, **about: Any) -> Graphs:
    train = export_training(task(), LOCAL, SampleForm((2,)))
    evaluate = export_evaluation(task(), SampleForm((2,)), batch_size=2)
    told = {**personal_part(split(strategy), start(seed), seed)}
    return Graphs.of(told, train.manifest, train.content, evaluate.manifest, evaluate.content)


def changed(**changes: Any) -> Graphs:
    """The graphs with other personal layers in the manifest."""
    made = graphs()
    train, evaluate = ({k: v for k, v in made.manifest["graphs"][n].items() if k != "sha256"}
                       for n in made.files)  # fmt: skip
    told = {"personal": {**made.manifest["personal"], **changes}}
    return Graphs.of(told, train, made.train, evaluate, made.evaluate)


def message(round: int, offer: Offer, trainer: str) -> Any:
    about = announced(
        strategy=FEDPER, seed=SEED, layout=split().whole.fingerprint, graphs=offer.to_json(),
        task={"kind": "classification", "model": MODEL, "lora": None},
        run={"trainer": trainer, "precision": "float32"},
    )  # fmt: skip
    sent = pack_train(split().shared_part(start()), split().shared, round=round, seed=SEED)
    return asked(about, sent)


def answers(responder: Responder, trainer: str) -> list[np.ndarray]:
    offer, found = Offer.of(graphs(), SECRET), []
    for round in (1, 2):
        key = responder.answer("train", str(round), message(round, offer, trainer), Coordinator(graphs()))
        content = decode(responder._outbox.answer(key))
        reply = unpack_reply(content, split().shared, round=round, client="kitchen", max_weight=1e9)
        found.append(reply.payload.arrays["values"])
    return found


def kept(responder: Responder) -> np.ndarray:
    device = responder._device
    return FolderState(device.state(RUN), device.name).load(3)["layers"]["parameters"]


def test_a_device_without_torch_sends_and_keeps_what_one_with_torch_does(tmp_path):
    without, with_torch = joined(tmp_path / "a", BY_KEY), joined(tmp_path / "b", BY_KEY)
    for ours, theirs in zip(answers(without, "absent"), answers(with_torch, "loop"), strict=True):
        assert len(ours) == split().shared.dimension
        np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    np.testing.assert_allclose(kept(without), kept(with_torch), atol=1e-6, rtol=0)
    moved = kept(without) - split().own_part(start()).parameters
    assert np.abs(moved).max() > 1e-3, "they are trained, in both rounds"


def test_its_selftest_trains_a_round_with_them(tmp_path):
    responder = joined(tmp_path, BY_KEY)
    answers(responder, "absent")
    (run,) = responder._runs.values()
    found = rehearsed(run, "kitchen")
    assert found.up < 4 * split().whole.dimension + 500


@pytest.mark.parametrize(
    ("made", "strategy", "told"),
    [
        (lambda: graphs(fedavg()), FEDPER, r"stay on a device are \[\] in the graphs, and"),
        (graphs, fedavg(local=LOCAL), r"and \[\] in the run"),
        (lambda: changed(tensors=["x"]), FEDPER, r"stay on a device are \['x'\] in the graphs"),
        (lambda: changed(tensors=7), FEDPER, "stay on a device are 7 in the graphs"),
        (lambda: graphs(seed=4), FEDPER, "start from the seed 4 in the graphs, and 3 in the run"),
        (lambda: changed(parameters="AAAA"), FEDPER, "are not 10 finite numbers"),
        (lambda: changed(parameters=base64.b64encode(b"\xff" * 40).decode()), FEDPER, "are not 10 finite"),
        (lambda: changed(parameters="\xe9" * 56), FEDPER, "are not 10 finite"),
        (lambda: changed(buffers=[1]), FEDPER, "are not 0 finite numbers"),
    ],
)
def test_graphs_with_other_personal_layers_are_refused_by_what_differs(made, strategy, told):
    with pytest.raises(BadGraphs, match=told):
        check_run(made(), strategy, "classification", split().whole.fingerprint, SEED)


def test_the_graphs_of_the_run_have_the_first_values_of_its_personal_layers_and_no_others():
    found = check_run(graphs(), FEDPER, "classification", split().whole.fingerprint, SEED)
    own = split().own_part(start())
    assert found is not None
    assert split().own_part(found).parameters.tobytes() == own.parameters.tobytes()
    assert not split().shared_part(found).parameters.any()
    assert replace(fedbn(local=LOCAL), personal=()).split(split().whole).personal == frozenset()
