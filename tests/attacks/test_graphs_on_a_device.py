"""A device trains by the graphs that its owner allows, whatever a server offers."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from hedgerow.client.graph_rules import CONSENT, GraphRules
from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.client.policy import AgainstPolicy, Policy
from hedgerow.client.policy_file import NAME, policy_text
from hedgerow.client.task import Task
from hedgerow.client.torch.lora import lora
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.export.exporting import SampleForm, export_evaluation, export_training
from hedgerow.graphs.bundle import TRAIN, Graphs
from hedgerow.graphs.offer import Offer, packed
from hedgerow.graphs.signature import signature_of
from hedgerow.models import build
from hedgerow.node.connection import Denied, Unreachable
from hedgerow.node.described_trainer import described_trainer
from hedgerow.node.errors import NoGraphs, NoTrainer
from hedgerow.node.responder import Responder, reason_of
from hedgerow.recipe.announcement import understand
from hedgerow.secure.errors import Refused
from hedgerow.secure.primitives import identity_key
from hedgerow.strategies import fedavg
from hedgerow.types import Layout, Model, Samples
from hedgerow.wire.codec import decode
from hedgerow.wire.messages import pack_train
from hedgerow.wire.replies import unpack_reply
from tests.described_runs import OPEN, again, announced, asked, joined
from tests.graph_files import LOCAL, OTHER_SECRET, SECRET, changed, small, widened

START = Model(np.linspace(-1, 1, 6, dtype=np.float32))
RULES = GraphRules(keys=(identity_key(SECRET).hex(),), in_the_clear=True)
BY_KEY = replace(OPEN, graphs=RULES)


@cache
def layout() -> Layout:
    return signature_of(small().manifest["graphs"][TRAIN], "train").layout


@cache
def signed(graphs: Graphs | None = None) -> Offer:
    return Offer.of(graphs or small(), SECRET)


class Coordinator:
    """Hands out graphs, and counts how often."""

    def __init__(self, graphs: Graphs | None = None, fails: Exception | None = None, cut: int = 0) -> None:
        data = packed(graphs or small())
        self.data, self.fails, self.asked = data[: len(data) - cut], fails, list[str]()

    def __call__(self, path: str) -> bytes:
        self.asked.append(path)
        if self.fails is not None:
            raise self.fails
        return self.data


def message(made: Graphs | None = None, round: int = 1, offer: Any = signed, **changes: Any) -> Any:
    offered = offer(made)
    graphs = {} if offered is None else {"graphs": offered.to_json()}
    given = {"run": {"trainer": "absent", "precision": "float32"}, **graphs, **changes}
    about = announced(strategy=fedavg(local=LOCAL), layout=layout().fingerprint, **given)
    return asked(about, pack_train(START, layout(), round=round, seed=0))


def answer(responder: Responder, ask: Callable[[str], bytes], **how: Any) -> Any:
    key = responder.answer("train", str(how.get("round", 1)), message(**how), ask)
    return decode(responder._outbox.answer(key))


def allow(responder: Responder, policy: Policy) -> None:
    (responder._device.folder / NAME).write_text(policy_text(policy))


def test_it_fetches_signed_graphs_once_and_trains_by_them(tmp_path):
    responder, coordinator = joined(tmp_path, BY_KEY), Coordinator()
    reply = unpack_reply(answer(responder, coordinator), layout(), round=1, client="kitchen", max_weight=1e9)
    data = Samples(np.array([[1, 2], [3, 4]], np.float32), np.array([0, 1]))
    fit = OnnxTrainer(small()).fit(START, data, LOCAL, seed=0, round=1, client="kitchen")
    assert reply.payload.arrays["values"].tobytes() == fit.delta.tobytes()
    answer(responder, coordinator, round=2)
    answer(again(responder), coordinator, round=3)
    assert coordinator.asked == [f"/graphs/{signed().hash}"]


def test_a_hash_that_is_listed_needs_no_signature(tmp_path):
    responder = joined(tmp_path, replace(OPEN, graphs=replace(RULES, keys=(), hashes=(signed().hash,))))
    answer(responder, Coordinator(), offer=unsigned)


def unsigned(graphs: Graphs | None) -> Offer:
    return Offer.of(graphs or small())


def foreign(graphs: Graphs | None) -> Offer:
    return Offer.of(small(), OTHER_SECRET)


def forged(graphs: Graphs | None) -> Offer:
    return replace(signed(), signature=signed(small(0.9)).signature)


def none(graphs: Graphs | None) -> None:
    return None


LARGE = 5 * 2**20


@pytest.mark.parametrize(
    ("rules", "offer", "told"),
    [
        (GraphRules(), signed, "the device takes no graphs: its policy lists neither a hash nor a key"),
        (RULES, unsigned, "not signed, and their hash the device's policy does not list"),
        (RULES, foreign, "..., whose key the device's policy does not list"),
        (RULES, forged, "not signed, and their hash"),
        (replace(RULES, in_the_clear=False), signed, CONSENT),
    ],
)
def test_what_its_policy_does_not_list_is_refused_and_not_fetched(tmp_path, rules, offer, told):
    responder, coordinator = joined(tmp_path, replace(OPEN, graphs=rules)), Coordinator()
    with pytest.raises(AgainstPolicy) as refused:
        answer(responder, coordinator, offer=offer)
    assert reason_of(refused.value).startswith("AgainstPolicy: rule graphs: ")
    assert told in str(refused.value)
    assert coordinator.asked == []
    assert not (responder._device.folder / "answers.jsonl").exists()


def forbidden(model: Any) -> None:
    model.graph.node.insert(0, helper.make_node("Optional", ["x"], ["z"]))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: changed(small(), forbidden), "train.onnx: it uses the operator 'Optional', which is not on"),
        (lambda: changed(small(), lambda model: setattr(model, "producer_name", "x" * LARGE)), "are taken"),
        (lambda: changed(small(), told=lambda told: told.pop("loss"), embedded=False), "the manifest is not"),
        (lambda: changed(small(), told=lambda told: told["local"].update(batch_size=3)), "batch_size is 3"),
        (lambda: small(0.9), "momentum is 0.9 in the graphs, and 0.0 in the run"),
    ],
)
def test_signed_graphs_that_are_not_what_they_must_be_are_refused_in_a_sentence(tmp_path, make, told, caplog):
    graphs = make()
    responder, coordinator = joined(tmp_path, BY_KEY), Coordinator(graphs)
    for round in (1, 2):
        with pytest.raises(AgainstPolicy) as refused:
            answer(responder, coordinator, made=graphs, round=round)
        assert str(refused.value).startswith("rule graphs: ")
        assert told in str(refused.value)
        assert told in caplog.text, "the owner is told too"
    assert len(coordinator.asked) == 1
    assert not (responder._device.folder / "answers.jsonl").exists()


def test_a_run_of_a_graph_takes_no_more_memory_than_the_policy_allows(tmp_path):
    wide = changed(small(), widened)
    responder = joined(tmp_path, replace(OPEN, graphs=replace(RULES, megabytes=18)))
    with pytest.raises(AgainstPolicy, match=r"a run of it may take [0-9]+ MB; at most 18 MB are allowed"):
        answer(responder, Coordinator(wide), made=wide)
    allow(responder, BY_KEY)
    answer(responder, Coordinator(wide), made=wide)


@pytest.mark.parametrize(
    "coordinator",
    [
        lambda: Coordinator(fails=Denied(404, "no such graphs")),
        lambda: Coordinator(small(0.9)),
        lambda: Coordinator(cut=1),
    ],
    ids=["none", "others", "cut"],
)
def test_a_coordinator_that_has_them_not_or_sends_others_is_answered_at_once(tmp_path, coordinator):
    responder = joined(tmp_path, BY_KEY)
    with pytest.raises(NoGraphs) as refused:
        answer(responder, coordinator())
    assert reason_of(refused.value).startswith("NoGraphs: The graphs of the run cannot be had")
    assert not (responder._device.folder / "answers.jsonl").exists()
    answer(responder, Coordinator())


def test_a_network_that_fails_is_no_refusal_and_nothing_is_answered(tmp_path):
    responder = joined(tmp_path, BY_KEY)
    with pytest.raises(Unreachable):
        answer(responder, Coordinator(fails=Unreachable("cut off")))
    assert not (responder._device.folder / "answers.jsonl").exists()
    answer(responder, Coordinator())


def test_graphs_that_have_changed_on_the_disk_are_fetched_again(tmp_path):
    responder, coordinator = joined(tmp_path, BY_KEY), Coordinator()
    answer(responder, coordinator)
    (file,) = (responder._device.folder / "graphs").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    for damaged in (file.read_bytes()[:-9], b"", file.read_bytes().replace(b"Gemm", b"Abcd")):
        file.write_bytes(damaged)
        answer(again(responder), coordinator, round=2 + len(coordinator.asked))
        assert file.read_bytes() == packed(small())
    assert len(coordinator.asked) == 4


def test_a_policy_that_no_longer_lists_them_holds_from_the_next_message_on(tmp_path):
    responder = joined(tmp_path, BY_KEY)
    answer(responder, Coordinator())
    allow(responder, OPEN)
    with pytest.raises(AgainstPolicy, match="rule graphs"):
        answer(responder, Coordinator(), round=2)


def test_without_graphs_a_device_without_the_trainer_says_so(tmp_path):
    with pytest.raises(NoTrainer, match="no graphs to train by are offered"):
        answer(joined(tmp_path, BY_KEY), Coordinator(), offer=none)


def test_a_trainer_that_the_owner_has_chosen_is_taken_in_place_of_the_runs_own(tmp_path):
    responder, coordinator = joined(tmp_path, BY_KEY), Coordinator()
    responder._device.change(trainer="absent-too")
    with pytest.raises(NoTrainer):
        answer(responder, coordinator)
    responder._device.change(trainer="onnx")
    answer(again(responder), coordinator, run={"trainer": "loop", "precision": "float32"})
    assert len(coordinator.asked) == 1


def test_adapters_are_in_the_graphs_and_need_no_torch_on_the_device(monkeypatch):
    task = Task(lora(build("mlp-2nn", input_shape=(2,), num_classes=2, hidden=4), rank=1))
    graphs = Graphs.of({}, *exported(task))
    of_model = {"name": "mlp-2nn", "arguments": {"input_shape": [2], "num_classes": 2, "hidden": 4}}
    about = announced(
        task={"kind": "classification", "model": of_model, "lora": {"rank": 1}},
        run={"trainer": "loop", "precision": "float32"},
        layout=TorchTrainer(task).layout.fingerprint,
        graphs=signed(graphs).to_json(),
    )
    run = understand(about.description)
    assert described_trainer(run, graphs=lambda: graphs).layout.constants
    for module in ("hedgerow.client.torch.lora", "hedgerow.client.torch.named"):
        monkeypatch.setitem(sys.modules, module, None)
    assert isinstance(described_trainer(run, graphs=lambda: graphs), OnnxTrainer)


def exported(task: Task) -> Iterator[Any]:
    for each in (export_training(task, LOCAL, SampleForm((2,))), export_evaluation(task, SampleForm((2,)))):
        yield from (each.manifest, each.content)


def test_a_description_with_an_offer_that_is_none_is_refused(tmp_path):
    responder = joined(tmp_path, BY_KEY)
    with pytest.raises(Refused):
        answer(responder, Coordinator(), offer=none, graphs={"hash": "../x", "size": 1})
    assert not list(Path(responder._device.folder).rglob("graphs/*"))
