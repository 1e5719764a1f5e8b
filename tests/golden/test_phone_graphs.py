"""A phone trains by graphs as this client does, and refuses the graphs that it refuses, in the same words."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hedgerow.client.onnx.trainer import OnnxTrainer
from hedgerow.client.regression import task_of
from hedgerow.client.task import Task
from hedgerow.client.torch.factorised import low_rank
from hedgerow.client.torch.lora import lora
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.graphs.agreement import check_run
from hedgerow.graphs.bundle import TRAIN, Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.inspection import graph_of, inspect
from hedgerow.graphs.offer import Offer, packed
from hedgerow.graphs.signature import signature_of
from hedgerow.graphs.walk import Walk
from hedgerow.models import MODELS, build
from hedgerow.strategies import fedavg, scaffold
from hedgerow.types import LocalTraining, Samples
from hedgerow.wire.text import read_json
from tests.attacks.test_graphs_refused import CHANGES, MANIFESTS
from tests.golden.make_graphs import MOST
from tests.golden.test_graphs import told
from tests.graph_files import LOCAL, changed, small
from tests.laws.onnx_fits import graphs_of
from tests.laws.test_export_training import SHIPPED, samples, shipped
from tests.laws.test_onnx_refusals import FALSE
from tests.laws.test_onnx_refusals import LOCAL as MOMENTUM
from tests.laws.test_onnx_refusals import changed as described
from tests.laws.test_onnx_trainer import SETTINGS, local
from tests.laws.torch_fits import cnn_trainer, images
from tests.phone_fits import PhoneFit
from tests.typescript import compiled, node

CLOSE = 1e-6
CLOSE_WITH_ADAM = 1e-5
"""It divides by a gradient's own size, so that of a tiny one the rounding shows."""


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    compiled()


def fits(chosen: Callable[[int], list[str]]) -> Iterator[tuple[str, PhoneFit]]:
    """Of each shipped model, with some of the settings; every other one corrected."""
    for number, name in enumerate(MODELS.names()):
        task, _ = shipped(name)
        data, model = samples(SHIPPED[name][0], 23), TorchTrainer(task).initial(1)
        for setting in chosen(number):
            correction = None
            if number % 2 == 0:
                random = np.random.default_rng(4).normal(size=len(model.parameters))
                correction = 0.01 * random.astype(np.float32)
            training = local(**SETTINGS[setting])
            graphs = graphs_of(task, training, data, correction=correction is not None)
            yield f"{name}, {setting}", PhoneFit(graphs, model, data, training, correction)


def others() -> Iterator[tuple[str, PhoneFit]]:
    """Numbers to predict, adapters on layers that do not change, and targets that are no single class."""
    random, training = np.random.default_rng(0), local()
    x = random.normal(size=(23, 4)).astype(np.float32)
    classes, shares = random.integers(0, 10, 23), random.dirichlet(np.ones(10), 23).astype(np.float32)
    plain = {"input_shape": (4,), "hidden": 5}
    scores = build("mlp-2nn", num_classes=10, **plain)
    for name, task, y in (
        ("numbers", task_of("regression", build("mlp-2nn", num_classes=1, **plain)), x[:, 0]),
        ("adapters", Task(lora(scores, rank=2)), classes),
        ("low rank", Task(low_rank(scores, rank=2)), classes),
        ("not counted", Task(scores), np.where(np.arange(23) % 6 == 2, -100, classes)),
        ("probabilities", Task(scores, metrics={}), shares),
    ):
        data, model = Samples(x, y), TorchTrainer(task).initial(1)
        yield name, PhoneFit(graphs_of(task, training, data), model, data, training)


def check(cases: dict[str, PhoneFit], folder: Path) -> dict[str, float]:
    """Hold the phone's fits to ours; the largest difference of each delta."""
    file, away = folder / "fits.json", {}
    file.write_text(json.dumps({name: case.told() for name, case in cases.items()}))
    found = json.loads(node("fits", file))
    assert set(found) == set(cases)
    for name, case in cases.items():
        fit, told = case.fit(), found[name]
        delta, buffers = (
            np.frombuffer(bytes.fromhex(told[each]), np.float32) for each in ("delta", "buffers")
        )
        away[name] = float(np.abs(delta - fit.delta).max())
        assert away[name] <= (CLOSE_WITH_ADAM if case.local.optimizer == "adam" else CLOSE), name
        assert np.abs(fit.delta).max() > 1e3 * away[name], "it has moved, and much"
        np.testing.assert_allclose(buffers, fit.buffers, rtol=0, atol=CLOSE)
        assert told["metrics"] == pytest.approx(dict(fit.metrics), abs=CLOSE)
        assert told["evaluated"] == pytest.approx(case.evaluated(), abs=CLOSE)
    return away


def test_every_shipped_models_fit_is_this_clients(tmp_path):
    chosen = list(SETTINGS)
    cases = dict(fits(lambda number: [chosen[number % len(chosen)]])) | dict(others())
    assert len(check(cases, tmp_path)) == len(MODELS.names()) + 5


@pytest.mark.long
def test_so_is_every_shipped_models_with_every_option(tmp_path):
    away = check(dict(fits(lambda number: list(SETTINGS))), tmp_path)
    print(json.dumps(away, indent=1))


def refused() -> dict[str, tuple[Graphs, dict[str, Any]]]:
    """Graphs that are not what they must be, or of another run, each with what it is of."""
    cases: dict[str, tuple[Graphs, dict[str, Any]]] = {"taken": (small(), {})}
    for number, (change, _) in enumerate(CHANGES):
        cases[f"change {number}"] = changed(small(), change), {}
    for number, change in enumerate(MANIFESTS):
        for embedded in (False, True):
            cases[f"manifest {number} {embedded}"] = changed(small(), told=change, embedded=embedded), {}
    large = changed(small(), lambda model: setattr(model, "producer_name", "x" * 4_194_304))
    cases["too large"] = large, {}
    cases["too much memory"] = small(), {"most": 2**24}
    for number, training in enumerate(
        (LocalTraining(batch_size=3), LocalTraining(batch_size=2, momentum=0.9),
         LocalTraining(batch_size=2, optimizer="adam"))
    ):  # fmt: skip
        cases[f"run {number}"] = small(), {"strategy": fedavg(local=training)}
    cases["correction"] = small(), {"strategy": scaffold(local=LOCAL)}
    cases["kind"] = small(), {"kind": "regression"}
    cases["layout"] = small(), {"layout": "0" * 16}
    graphs = graphs_of(cnn_trainer().task, MOMENTUM, images(6))
    for text, change in FALSE.items():
        cases[f"manifest of which {text}"] = described(graphs, change), {"inspected": False}
    return cases


def sentence(graphs: Graphs, *, most: int, strategy: Any, kind: str, layout: str, inspected: bool) -> str:
    """Why they are refused; empty if they are not."""
    try:
        if inspected:
            inspect(graphs, most)
            check_run(graphs, strategy, kind, layout, 0)
        OnnxTrainer(graphs)
    except BadGraphs as error:
        return str(error)
    return ""


def test_a_phone_refuses_the_graphs_that_this_client_refuses_in_the_same_words(tmp_path):
    layout = signature_of(small().manifest["graphs"][TRAIN], "train").layout.fingerprint
    cases, asked, ours = refused(), {}, {}
    for name, (graphs, given) in cases.items():
        of_run = {
            "most": MOST, "strategy": fedavg(local=LOCAL), "kind": "classification", "layout": layout,
            "inspected": True, **given,
        }  # fmt: skip
        ours[name] = sentence(graphs, **of_run)
        strategy = of_run.pop("strategy")
        asked[name] = {
            "offer": {**Offer.of(small()).to_json(), "hash": graphs.hash, "size": len(packed(graphs))},
            "graphs": packed(graphs).hex(), "local": asdict(strategy.local),
            "corrects": any(stream.correction is not None for stream in strategy.streams),
            **of_run,
        }  # fmt: skip
    file = tmp_path / "refused.json"
    file.write_text(json.dumps(asked))
    assert json.loads(node("refusals", file)) == ours
    assert [name for name, said in ours.items() if not said] == ["taken"]


def _listed(found: Any) -> str:
    return ", ".join(f"{n} {v.dtype} {'x'.join(map(str, v.shape))}" for n, v in found.items())


def _graph(data: bytes) -> str:
    walk = Walk(graph_of(data)[0], MOST)
    return f"{walk.needed} {_listed(walk.inputs)} {_listed(walk.outputs)}"


def _manifest(data: bytes) -> str:
    found = signature_of(read_json(data), "train")
    told = f"{_listed(found.inputs)} {_listed(found.outputs)} {found.layout.fingerprint} {found.loss}"
    return told.encode().hex()


def _travelled(data: bytes) -> str:
    return Offer.from_json(told()["logistic"]["offer"]).opened(data).hash


READERS: dict[str, Callable[[bytes], str]] = {
    "graph": _graph, "manifest": _manifest, "travelled": _travelled,
    "json": lambda data: json.dumps(read_json(data)).encode().hex(),
}  # fmt: skip


def test_both_languages_read_and_refuse_the_same_damaged_graphs():
    """Graphs in the same words too; what a number of JavaScript does not hold is refused there alone."""
    seen = Counter[tuple[str, bool]]()
    for line in node("graph_readings").splitlines():
        kind, data, theirs = line.split(" ", 2)
        ours, said = None, ""
        try:
            ours = READERS[kind](bytes.fromhex(data))
        except ValueError as error:
            said = f"refused: {error}"
        if theirs.endswith("above 2**53"):
            continue
        if kind in ("graph", "travelled"):
            assert theirs == (said if ours is None else ours), line
        else:
            assert theirs == ours if ours is not None else theirs.startswith("refused: "), (line, said)
        seen[kind, ours is None] += 1
    assert {kind for kind, _ in seen} == set(READERS)
    assert seen.total() > 5900
