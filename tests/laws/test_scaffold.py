"""SCAFFOLD is the paper's algorithm, reaches the optimum where FedAvg does not, and outlives lost replies."""

import re
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow.rng import generator
from hedgerow.server.checkpoint import load_checkpoint
from hedgerow.strategies.algorithms.scaffold import control_variates
from hedgerow.types import Fit, Layout, Model, Samples
from tests.support import Clients

LOCAL = hr.LocalTraining(learning_rate=0.05, learning_rate_decay=0.95, epochs=2, batch_size=4)


def squared(outputs, targets):
    return ((outputs[:, 0] - targets) ** 2).mean() / 2


TASK = hr.Task(lambda: nn.Linear(3, 1), squared, {})


def regression(number: int) -> Clients:
    """Linear regression, with another slope on each client."""
    made = {}
    for i in range(number):
        random = np.random.default_rng(i)
        x = random.normal(size=(5 + 3 * i, 3)).astype(np.float32)
        made[f"client-{i}"] = Samples(x, np.rint(x @ random.normal(0, 3, 3)).astype(np.int64))
    return Clients(made)


def reference(clients: Clients, strategy, start: np.ndarray, rounds: int, seed: int, server_rate: float):
    """Algorithm 1 with option II, in float64; the model and the server's control variate."""
    x, c = start.astype(np.float64), np.zeros(len(start))
    own = {name: np.zeros(len(start)) for name in clients.names}
    for round in range(1, rounds + 1):
        moved, changed, rate = [], [], LOCAL.learning_rate_at(round)
        for name in strategy.sampling.choose(clients.names, seed, round):
            data, y, steps = clients.samples(name), x.copy(), 0
            shuffle = generator(seed, "shuffle", round=round, client=name)
            for _ in range(LOCAL.epochs):
                order = shuffle.permutation(len(data))
                for first in range(0, len(data), LOCAL.batch_size):
                    index = order[first : first + LOCAL.batch_size]
                    inputs = np.column_stack([data.x[index].astype(np.float64), np.ones(len(index))])
                    gradient = inputs.T @ (inputs @ y - data.y[index]) / len(index)
                    y -= rate * (gradient - own[name] + c)
                    steps += 1
            after = own[name] - c + (x - y) / (steps * rate)
            moved.append(y - x)
            changed.append(after - own[name])
            own[name] = after
        x = x + server_rate * np.mean(moved, axis=0)
        c = c + len(moved) / len(clients.names) * np.mean(changed, axis=0)
    return x, c


@pytest.mark.parametrize("trainer", ["loop", "batch"])
def test_it_is_the_papers_algorithm_with_partial_participation(trainer):
    clients = regression(7)
    strategy = hr.scaffold(server_learning_rate=0.8, sampling=hr.uniform(3), local=LOCAL)
    results = list(hr.simulate(TASK, clients, strategy, rounds=8, seed=3, trainer=trainer, device="cpu"))
    start = hr.TorchTrainer(TASK).initial(3).parameters
    model, control = reference(clients, strategy, start, 8, 3, 0.8)
    state = results[-1].state
    np.testing.assert_allclose(state.model.parameters, model, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state.streams["control"], control, rtol=0, atol=1e-5)
    assert np.abs(model - start).max() > 0.5
    assert np.abs(control).max() > 0.1


@dataclass(frozen=True)
class Quadratic:
    """`a / 2 (w - b)^2`, where `x` is the one pair `(a, b)` of a client."""

    layout: Layout = field(default_factory=lambda: Layout.flat(1))
    supports = frozenset({"correction"})

    def initial(self, seed):
        return Model(np.zeros(1, np.float32))

    def fit(self, model, data, local, *, seed, round, client, correction=None):
        (a, b), w = data.x[0].astype(np.float64), model.parameters.astype(np.float64)
        for _ in range(local.steps(len(data))):
            w = w - local.learning_rate * (a * (w - b) + (0 if correction is None else correction))
        return Fit((w - model.parameters).astype(np.float32), np.empty(0, np.float32), 1, {})

    def evaluate(self, model, data):
        return {}


CURVES = {"steep": (1.0, 0.0), "flat": (0.1, 10.0)}
QUADRATICS = Clients(
    {name: Samples(np.array([pair], np.float32), np.zeros(1, np.int64)) for name, pair in CURVES.items()}
)


def final(make) -> float:
    strategy = make(sampling=hr.uniform(2), local=hr.LocalTraining(learning_rate=0.5, epochs=10))
    *_, last = hr.simulate(Quadratic(), QUADRATICS, strategy, rounds=150)
    return float(last.state.model.parameters[0])


def test_it_reaches_the_optimum_of_unlike_clients_where_fedavg_drifts():
    optimum = sum(a * b for a, b in CURVES.values()) / sum(a for a, _ in CURVES.values())
    # Ten steps bring a client `1 - (1 - 0.5 a)^10` of its way to its own optimum; FedAvg rests where these
    # pulls are even (closed form).
    pulls = {name: 1 - (1 - 0.5 * a) ** 10 for name, (a, _) in CURVES.items()}
    drifted = sum(pulls[name] * b for name, (_, b) in CURVES.items()) / sum(pulls.values())
    assert drifted - optimum > 1.9
    assert final(hr.fedavg) == pytest.approx(drifted, abs=1e-4)
    assert final(hr.scaffold) == pytest.approx(optimum, abs=1e-4)


@dataclass(frozen=True)
class Failing(Quadratic):
    """Its replies of some rounds are lost after the client has moved on."""

    lost: frozenset = frozenset({("flat", 2), ("flat", 3), ("steep", 5)})

    def fit(self, model, data, local, *, seed, round, client, correction=None):
        fit = super().fit(model, data, local, seed=seed, round=round, client=client, correction=correction)
        # Not a number of metrics: the server drops the reply, when the client has kept its state.
        return replace(fit, metrics={"loss": np.nan}) if (client, round) in self.lost else fit


def test_lost_replies_leave_no_bias_behind():
    strategy = hr.scaffold(
        sampling=hr.uniform(2), local=hr.LocalTraining(learning_rate=0.5, epochs=10), quorum=0.6
    )
    results = list(hr.simulate(Failing(), QUADRATICS, strategy, rounds=150))
    assert [bool(r.failed) for r in results[:6]] == [False, True, True, False, True, False]
    # A failed round counts for nobody.
    assert results[2].state.uncounted == {"flat": 2, "steep": 2}
    assert results[3].state.uncounted == {}
    assert float(results[-1].state.model.parameters[0]) == pytest.approx(10 / 11, abs=1e-4)


def test_both_directions_carry_the_control_variates_and_count_their_bytes():
    clients = regression(4)

    def sent(make):
        (result,) = hr.simulate(TASK, clients, make(sampling=hr.uniform(4), local=LOCAL), rounds=1)
        return sum(result.bytes_up.values()), sum(result.bytes_down.values())

    plain, more = sent(hr.fedavg), sent(hr.scaffold)
    assert all(b > a + 4 * 4 * 4 for a, b in zip(plain, more, strict=True))


@pytest.mark.parametrize("pipeline", ["float32()", "error_feedback(top_k(0.5), quantize(8))"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_resumed_run_ends_with_the_same_model_and_control_variate(tmp_path, pipeline, workers):
    clients = regression(6)
    strategy = hr.scaffold(sampling=hr.uniform(3), local=LOCAL, pipeline=hr.parse_pipeline(pipeline))
    whole = list(hr.simulate(TASK, clients, strategy, rounds=9, workers=workers))[-1].state
    run = hr.simulate(TASK, clients, strategy, rounds=9, workers=workers, folder=tmp_path)
    for _ in range(5):
        next(run)
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt())  # the fifth round is done and not saved: the clients' states are ahead
    saved = load_checkpoint(tmp_path / "checkpoints", hr.TorchTrainer(TASK).layout, seed=0)
    assert saved.round == 4
    assert saved.streams["control"].any()
    *_, last = hr.simulate(TASK, clients, strategy, rounds=9, workers=workers, folder=tmp_path)
    assert last.state.model.parameters.tobytes() == whole.model.parameters.tobytes()
    assert last.state.streams["control"].tobytes() == whole.streams["control"].tobytes()


REFUSED = {
    "only for plain SGD": {"local": hr.LocalTraining(momentum=0.9)},
    "only for plain SGD;": {"local": hr.LocalTraining(optimizer="adam")},
    "leave out proximal": {"local": hr.LocalTraining(proximal=0.1)},
    "use weighted=False": {"weighted": True},
    "max_norm bounds only the delta": {"max_norm": 1.0},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_makes_no_sense_beside_control_variates_is_refused(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        hr.scaffold(**REFUSED[message])


def test_two_sides_of_another_mind_say_so():
    clients, one, other = regression(2), hr.scaffold(sampling=hr.uniform(2)), hr.fedavg()
    trainer = hr.TorchTrainer(TASK)
    app = hr.client_app(trainer, clients, other)
    with hr.InProcessGrid(app, 2, names=clients.names) as grid:
        state = hr.begin(one, trainer.initial(0), trainer.layout)
        with pytest.raises(ValueError, match=r"sends the streams \['control'\], this client's has \[\]"):
            next(hr.rounds(grid, one, state, trainer.layout, num_rounds=1))
        with pytest.raises(
            ValueError, match="this state holds nothing of the streams, but scaffold keeps control"
        ):
            next(
                hr.rounds(
                    grid,
                    one,
                    hr.begin(other, trainer.initial(0), trainer.layout),
                    trainer.layout,
                    num_rounds=1,
                )
            )


@pytest.mark.parametrize(
    "kept",
    [hr.secure_fedavg(), hr.dp_fedavg(), hr.secure_dp_fedavg()],
    ids=lambda strategy: strategy.name,
)
def test_control_variates_are_not_sent_in_the_open_beside_what_is_protected(kept):
    with pytest.raises(ValueError, match="control variates do not fit here"):
        replace(kept, streams=(control_variates(),))
