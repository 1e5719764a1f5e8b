"""Under a mask nobody sees what one client adds: a sum that honest clients cannot have fails its round."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Message

import hedgerow as hr
from hedgerow.client.app import client_app
from hedgerow.records import from_flower, to_flower
from hedgerow.server.rounds import begin, rounds
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.types import Arrays, Deployment
from hedgerow.wire.arrays import pack_arrays, read_array
from tests.faults.bad_replies.runs import LIAR, LOCAL, TRAINER, Heaps

RANGE = 0.25
STRATEGY = hr.secure_fedavg(
    clip_norm=1.0, value_range=RANGE, bits=8, max_examples=100, min_clients=3, corrupt=0.0, dropout=0.25,
    local=LOCAL,
)  # fmt: skip


def masked_run(lie: Callable[[dict[str, np.ndarray]], Arrays], strategy=STRATEGY):
    """Three rounds whose vectors are summed as they would be under masks; one of four is changed."""
    data = Heaps()
    app = client_app(TRAINER, data, strategy, guard=None, deployment=Deployment.SIMULATED)

    def node(message, context):
        reply = app(message, context)
        if data.names[int(context.node_config["partition-id"])] != LIAR or reply.has_error():
            return reply
        content = dict(from_flower(reply.content))
        arrays = {name: read_array(array).copy() for name, array in content["vector"].items()}
        content["vector"] = pack_arrays(lie(arrays))
        return Message(to_flower(content), reply_to=message)

    with InProcessGrid(node, 4, names=data.names) as grid:
        state = begin(strategy, TRAINER.initial(0), TRAINER.layout)
        return list(
            rounds(
                grid, strategy, state, TRAINER.layout, num_rounds=3, deployment=Deployment.SIMULATED,
            )
        )  # fmt: skip


def drawn(arrays):
    random = np.random.default_rng(0)
    values = random.integers(0, 256, len(arrays["values"]), np.uint8)
    values[-1] = 0  # padding
    return {**arrays, "values": values}


def heavy(arrays):
    return {**arrays, "words": arrays["words"] + np.uint64(2**40)}


def light(arrays):
    return {**arrays, "words": arrays["words"] - np.uint64(10**6)}


@pytest.mark.parametrize(
    ("lie", "says"), [(drawn, "a value of the sum"), (heavy, "the total weight"), (light, "the total weight")]
)
def test_a_sum_that_no_honest_clients_have_fails_its_round_and_the_model_stays(lie, says):
    for result in masked_run(lie):
        assert says in result.failed
        assert "nobody can tell which" in result.failed
        assert result.state.model.parameters.tobytes() == TRAINER.initial(0).parameters.tobytes()


@pytest.mark.parametrize(
    "lie", [lambda a: {**a, "values": a["values"][:-1]}, lambda a: {"values": a["values"]}]
)
def test_a_vector_of_another_form_is_dropped_by_name(lie):
    for result in masked_run(lie):
        assert list(result.dropped) == [LIAR]
        assert result.failed == ""


def test_what_counts_moves_no_value_further_than_the_range_of_the_quantiser():
    before = TRAINER.initial(0).parameters
    for result in masked_run(lambda arrays: arrays):
        assert result.failed == ""
        assert np.abs(result.state.model.parameters - before).max() <= RANGE * 1.001
        before = result.state.model.parameters
