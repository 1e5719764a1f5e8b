"""One client answers nonsense: it is dropped by name, and the run goes on without it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from hedgerow.client.app import client_app
from hedgerow.server.failures import EveryClientFailed
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import chain, fedavg, quantize, top_k, uniform, weight_by_examples
from hedgerow.types import Samples
from tests.support import DIMENSION, Clients, MeanTrainer, clients

BAD = "client-002"


def arrays(values, **others):
    named = {"values": values, **others}
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in named.items()})


def change(record, **entries):
    """The same record with other entries."""
    return type(record)({**record, **entries})


def with_payload(values, **others):
    def edit(content):
        content["payload"] = arrays(values, **others)

    return edit


def with_metric(**entries):
    def edit(content):
        content["hedgerow.metrics"] = change(
            content["hedgerow.metrics"], **{k.replace("_", "-"): v for k, v in entries.items()}
        )

    return edit


def with_config(**entries):
    def edit(content):
        content["hedgerow"] = change(content["hedgerow"], **entries)

    return edit


def without(key):
    def edit(content):
        del content[key]

    return edit


def corrupt(content):
    array = Array(np.zeros(DIMENSION, np.float32))
    content["payload"] = ArrayRecord(
        {"values": Array("float32", (DIMENSION,), "numpy.ndarray", array.data[:50])}
    )


def pickled(content):
    content["payload"] = ArrayRecord({"values": Array("object", (1,), "numpy.ndarray", b"\x80\x04K\x01.")})


def raises(content):
    raise RuntimeError("the sensor is unplugged")


good = np.zeros(DIMENSION, np.float32)
poisoned = good.copy()
poisoned[3] = np.nan
infinite = good.copy()
infinite[3] = np.inf

REPLIES = {
    "wrong shape": (with_payload(np.zeros(7, np.float32)), "there are 7 values; there must be 40"),
    "two dimensions": (with_payload(good.reshape(4, 10)), "one-dimensional"),
    "wrong dtype": (with_payload(good.astype(np.float64)), "float64"),
    "wrong keys": (with_payload(good, extra=good), "extra"),
    "not a number": (with_payload(poisoned), "1 of 40 values are not finite"),
    "infinity": (with_payload(infinite), "1 of 40 values are not finite"),
    "huge": (with_payload(good + np.float32(1e30)), "largest weighted value is|the norm of its delta is 6"),
    "negative weight": (with_metric(weight=-3.0), "weight is -3.0; it must be a number from 0"),
    "absurd weight": (with_metric(weight=1e12), "weight is 1000000000000.0"),
    "weight not a number": (with_metric(weight=float("nan")), "weight is nan"),
    "weight a list": (with_metric(weight=[1.0, 2.0]), "weight is"),
    "no examples": (with_metric(weight=0.0), "trained on no examples"),
    "negative examples": (with_metric(num_examples=-5), "number of examples is -5"),
    "metric not a number": (with_metric(**{"metric.loss": float("nan")}), "metric 'loss' is nan"),
    "unknown metric": (with_metric(accuracy=0.5), "each must be called metric.NAME"),
    "stale round": (with_config(round=77), "for round 77"),
    "another's name": (with_config(client="client-003"), "signed 'client-003'"),
    "no payload": (without("payload"), "it must have"),
    "no metrics": (without("hedgerow.metrics"), "it must have"),
    "no config": (without("hedgerow"), "it must have"),
    "torn array": (corrupt, "cannot be read"),
    "pickle": (pickled, "cannot be read"),
    "raises": (raises, "RuntimeError: the sensor is unplugged"),
}


def run(edit, pipeline=None, quorum=0.5, good=4, **parts):
    """Two rounds over five clients, of which all but so many edit their replies."""
    strategy = fedavg(pipeline=pipeline or weight_by_examples(), sampling=uniform(5), quorum=quorum, **parts)
    trainer, data = MeanTrainer(), clients(5)
    app = client_app(trainer, data, strategy)

    def node(message, context):
        reply = app(message, context)
        name = data.names[int(context.node_config["partition-id"])]
        if name not in [other for other in data.names if other != BAD][:good]:
            content = RecordDict(dict(reply.content))
            edit(content)
            return Message(content, reply_to=message)
        return reply

    with InProcessGrid(node, 5, names=lambda i: data.names[i]) as grid:
        state = begin(strategy, trainer.initial(0), trainer.layout)
        return list(rounds(grid, strategy, state, trainer.layout, num_rounds=2))


@pytest.mark.parametrize("fault", REPLIES)
def test_a_bad_reply_is_dropped_by_name_and_leaves_no_trace(fault):
    edit, expected = REPLIES[fault]
    results = run(edit)
    absent = run(raises)
    for result, without_it in zip(results, absent, strict=True):
        assert list(result.dropped) == [BAD]
        assert re.search(expected, result.dropped[BAD])
        assert not result.failed
        assert result.state.model.parameters.tobytes() == without_it.state.model.parameters.tobytes()
        assert result.metrics == without_it.metrics
    assert (results[0].state.model.parameters != MeanTrainer().initial(0).parameters).any()


@pytest.mark.parametrize("pipeline", [top_k(0.1), quantize(8), chain(top_k(0.2), quantize(3))], ids=str)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_torn_packed_payload_is_dropped(pipeline, cut):
    def edit(content):
        values = content["payload"]["values"].numpy()
        others = {k: v.numpy() for k, v in content["payload"].items() if k != "values"}
        content["payload"] = arrays(values[:cut], **others)

    for result in run(edit, pipeline):
        assert list(result.dropped) == [BAD]


def test_a_delta_over_the_norm_bound_is_dropped():
    results = run(with_payload(good + np.float32(10)), max_norm=30.0)
    assert results[0].dropped == {BAD: "the norm of its delta is 63.25; at most 30 is allowed"}


@pytest.mark.parametrize("fault", ["raises", "not a number", "no payload"])
def test_under_quorum_the_round_fails_and_the_model_stays(fault):
    results = run(REPLIES[fault][0], good=2)
    for result in results:
        assert result.failed == "2 of 5 clients count; 3 are needed"
        assert result.state.model.parameters.tobytes() == MeanTrainer().initial(0).parameters.tobytes()
    assert [r.round for r in results] == [1, 2]
    with pytest.raises(EveryClientFailed, match="the run stops in round 1"):
        run(REPLIES[fault][0], good=0)


def test_an_empty_client_is_dropped_by_name():
    data = clients(5)
    empty = Clients(
        {**data.by_name, BAD: Samples(np.empty((0, DIMENSION), np.float32), np.empty(0, np.int64))}
    )
    strategy, trainer = fedavg(sampling=uniform(5)), MeanTrainer()
    with InProcessGrid(client_app(trainer, empty, strategy), 5) as grid:
        (result,) = rounds(
            grid, strategy, begin(strategy, trainer.initial(0), trainer.layout), trainer.layout, num_rounds=1
        )
    assert list(result.dropped) == [BAD]
    assert "no samples" in result.dropped[BAD]


def test_a_client_with_another_model_is_dropped_by_name():
    strategy, trainer, data = fedavg(sampling=uniform(5)), MeanTrainer(), clients(5)
    other = MeanTrainer(replace(trainer.layout, parameters=trainer.layout.parameters[::-1]))
    apps = [client_app(other if name == BAD else trainer, data, strategy) for name in data.names]
    with InProcessGrid(lambda m, c: apps[int(c.node_config["partition-id"])](m, c), 5) as grid:
        (result,) = rounds(
            grid, strategy, begin(strategy, trainer.initial(0), trainer.layout), trainer.layout, num_rounds=1
        )
    assert list(result.dropped) == [BAD]
    assert "layout" in result.dropped[BAD]


def test_two_nodes_of_one_name_do_not_count_twice(caplog):
    strategy, trainer, data = fedavg(sampling=uniform(5)), MeanTrainer(), clients(4)
    app = client_app(trainer, data, strategy)
    twice = {"client-name": "client-001"}
    with InProcessGrid(app, 5, node_config=lambda i: twice if i == 4 else {}) as grid:
        (result,) = rounds(
            grid, strategy, begin(strategy, trainer.initial(0), trainer.layout), trainer.layout, num_rounds=1
        )
    assert result.cohort == data.names
    assert "is already connected" in caplog.text


def test_without_clients_the_rounds_fail_and_end():
    strategy, trainer, data = fedavg(), MeanTrainer(), clients(2)
    app = client_app(trainer, data, strategy)
    with InProcessGrid(app, 1, node_config=lambda i: {"client-name": "nobody"}) as grid:
        results = list(
            rounds(
                grid,
                strategy,
                begin(strategy, trainer.initial(0), trainer.layout),
                trainer.layout,
                num_rounds=2,
            )
        )
    assert [r.failed for r in results] == ["no client is connected"] * 2


def test_metrics_and_configs_are_the_types_flower_sends():
    """The edits above use Flower's own records, so that what is tested is what could arrive."""
    assert {type(r) for r in (arrays(good), ConfigRecord(), MetricRecord())} == {
        ArrayRecord,
        ConfigRecord,
        MetricRecord,
    }
