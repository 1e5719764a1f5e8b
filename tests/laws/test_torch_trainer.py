"""Local training is that of a plain torch loop, the same every time, and forgets each client."""

import copy
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hedgerow.client.task import Task
from hedgerow.client.torch.trainer import TorchTrainer
from hedgerow.models import build
from hedgerow.rng import generator
from hedgerow.types import Layout, LocalTraining, Model, Samples


def images(n: int, seed: int = 0, classes: int = 10, shape: tuple[int, ...] = (1, 16, 16)) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(rng.normal(size=(n, *shape)).astype(np.float32), rng.integers(classes, size=n))


def cnn_trainer(channels: int = 1, **options) -> TorchTrainer:
    return TorchTrainer(
        Task(build("cnn-small", input_shape=(channels, 16, 16), num_classes=10, hidden=20)), **options
    )


PLAIN = LocalTraining()
HERE = Path(__file__).parent


def fit(trainer, data, local=PLAIN, model=None, seed=1, round=1, client="a"):
    model = model or trainer.initial(5)
    return trainer.fit(model, data, local, seed=seed, round=round, client=client)


def plain_fit(factory, model: Model, data: Samples, local: LocalTraining, seed, round, client) -> np.ndarray:
    """The obvious loop with torch.optim, on a module of its own."""
    torch.manual_seed(0)
    module = factory()
    nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
    start = [p.detach().clone() for p in module.parameters()]
    optimizer = (
        torch.optim.SGD(
            module.parameters(),
            local.learning_rate_at(round),
            momentum=local.momentum,
            weight_decay=local.weight_decay,
        )
        if local.optimizer == "sgd"
        else torch.optim.Adam(
            module.parameters(), local.learning_rate_at(round), weight_decay=local.weight_decay
        )
    )
    shuffle = generator(seed, "shuffle", round=round, client=client)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    for _ in range(local.epochs):
        for index in torch.from_numpy(shuffle.permutation(len(data))).split(local.batch_size or len(data)):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(module(x[index]), y[index])
            distance = sum(((p - s) ** 2).sum() for p, s in zip(module.parameters(), start, strict=True))
            (loss + local.proximal / 2 * distance).backward()
            if local.clip_gradient:
                nn.utils.clip_grad_norm_(module.parameters(), local.clip_gradient)
            optimizer.step()
    return nn.utils.parameters_to_vector(module.parameters()).detach().numpy() - model.parameters


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@settings(max_examples=25, deadline=None)
@given(
    epochs=st.integers(1, 3),
    batch_size=st.sampled_from([0, 1, 4, 5, 100]),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.01]),
    proximal=st.sampled_from([0.0, 0.5]),
    clip_gradient=st.sampled_from([0.0, 0.05, 100.0]),
    decay=st.sampled_from([1.0, 0.9]),
)
def test_a_fit_is_the_plain_torch_loop(
    optimizer, epochs, batch_size, momentum, weight_decay, proximal, clip_gradient, decay
):
    local = LocalTraining(
        optimizer=optimizer,
        learning_rate=0.05 if optimizer == "sgd" else 0.003,
        learning_rate_decay=decay,
        epochs=epochs,
        batch_size=batch_size,
        momentum=momentum if optimizer == "sgd" else 0.0,
        weight_decay=weight_decay,
        proximal=proximal,
        clip_gradient=clip_gradient,
    )
    factory = build("mlp-2nn", input_shape=(2, 3), num_classes=3, hidden=8)
    trainer = TorchTrainer(Task(factory))
    model, data = trainer.initial(3), images(9, classes=3, shape=(2, 3))
    ours = trainer.fit(model, data, local, seed=11, round=3, client="c").delta
    plain = plain_fit(factory, model, data, local, 11, 3, "c")
    # A value where Adam's gradient is nearly 0 / 0 amplifies the last bit of the gradient; SGD does not.
    np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-7 if optimizer == "sgd" else 1e-5)
    assert np.abs(plain).max() > 1e-5


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cnn_in_channels_last_format_trains_as_a_plain_one(channels):
    factory = build("cnn-small", input_shape=(channels, 16, 16), num_classes=10, hidden=20)
    trainer = TorchTrainer(Task(factory))
    model, data = trainer.initial(3), images(25, shape=(channels, 16, 16))
    ours = trainer.fit(model, data, LocalTraining(), seed=1, round=1, client="c").delta
    plain = plain_fit(factory, model, data, LocalTraining(), 1, 1, "c")
    np.testing.assert_allclose(ours, plain, rtol=0, atol=5e-7)


def dropout_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 5), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 144, 10))


def digest() -> str:
    trainer = TorchTrainer(Task(dropout_net))
    result = fit(trainer, images(23), LocalTraining(epochs=2, momentum=0.9))
    return hashlib.sha256(result.delta.tobytes() + trainer.initial(9).parameters.tobytes()).hexdigest()


PROGRAM = """
import sys, torch
torch.manual_seed(3)
torch.set_num_threads(2)
sys.path.insert(0, sys.argv[1])
from test_torch_trainer import digest
print(digest())
"""


def test_another_process_gives_the_same_bits():
    command = [sys.executable, "-c", PROGRAM, str(HERE)]
    other = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()


def test_seed_round_and_client_each_change_the_order_of_the_samples():
    trainer, data = cnn_trainer(), images(30)
    base = fit(trainer, data)
    assert np.array_equal(fit(trainer, data).delta, base.delta)
    for change in ({"seed": 2}, {"round": 2}, {"client": "b"}):
        assert not np.array_equal(fit(trainer, data, **change).delta, base.delta)


def test_dropout_depends_on_the_client_and_not_on_torchs_global_generator():
    trainer, data = TorchTrainer(Task(dropout_net)), images(1)  # one sample: no order to depend on
    whole = LocalTraining(batch_size=0)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    one = fit(trainer, data, whole).delta
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(fit(trainer, data, whole).delta, one)
    assert np.abs(fit(trainer, data, whole, client="b").delta - one).max() > 1e-3


class Leaky(nn.Module):
    """Keeps whatever a module can keep: BatchNorm, counters, a hidden state, a flag, a cache."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(256, 10)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.ones(10), persistent=False)
        self.hidden = None

    def forward(self, x):
        out = self.linear(self.dropout(self.norm(x.flatten(1)))) * self.scratch
        self.seen += 1
        self.scratch = self.scratch * 0.9
        if self.hidden is not None:
            out = out + self.hidden
        self.hidden = out.detach().mean(0)
        self.cache = out.detach().mean() + getattr(self, "cache", 0)
        self.linear.bias.requires_grad_(int(self.seen) < 2)
        return out + self.cache / (self.seen + 1)


LOCALS = [
    LocalTraining(momentum=0.9),
    LocalTraining(optimizer="adam", learning_rate=0.01),
    LocalTraining(clip_gradient=0.1, proximal=0.1),
]


@pytest.mark.parametrize("local", LOCALS, ids=["momentum", "adam", "clip and proximal"])
@pytest.mark.parametrize("factory", [Leaky, dropout_net])
def test_nothing_of_one_client_reaches_the_next(factory, local):
    trainer = TorchTrainer(Task(factory))
    model, a, b = trainer.initial(0), images(23, 1), images(31, 2)
    kept = copy.deepcopy(model)
    first = fit(trainer, a, local, model)
    value = trainer.evaluate(model, b)
    fit(trainer, b, local, model, client="b")
    again = fit(trainer, a, local, model)
    assert np.array_equal(first.delta, again.delta)
    assert np.array_equal(first.buffers, again.buffers)
    assert first.metrics == again.metrics
    assert trainer.evaluate(model, b) == value
    fresh = fit(TorchTrainer(Task(factory)), a, local, model)
    assert np.array_equal(first.delta, fresh.delta)
    assert np.array_equal(kept.parameters, model.parameters)
    assert np.array_equal(kept.buffers, model.buffers)


def test_a_module_made_in_evaluation_mode_trains_in_training_mode():
    usual, still = TorchTrainer(Task(dropout_net)), TorchTrainer(Task(lambda: dropout_net().eval()))
    assert np.array_equal(fit(usual, images(9)).delta, fit(still, images(9)).delta)


def test_a_failed_fit_leaves_nothing_behind():
    trainer = TorchTrainer(Task(Leaky))
    model, good = trainer.initial(0), images(23, 1)
    expected = fit(trainer, good, model=model)
    with pytest.raises(ValueError, match="diverged"):
        fit(trainer, images(9), LocalTraining(learning_rate=1e30, momentum=0.9, epochs=5), model)
    assert np.array_equal(fit(trainer, good, model=model).delta, expected.delta)


def test_results_are_not_views_of_the_trainer():
    trainer = cnn_trainer()
    model = trainer.initial(0)
    first = fit(trainer, images(12), model=model)
    kept = first.delta.copy()
    fit(trainer, images(12, 4), model=model, client="b")
    assert np.array_equal(first.delta, kept)
    assert np.array_equal(model.parameters, trainer.initial(0).parameters)


def test_the_initial_model_depends_on_the_seed_alone():
    trainer = cnn_trainer()
    torch.manual_seed(1)
    one = trainer.initial(4).parameters
    torch.manual_seed(2)
    assert np.array_equal(trainer.initial(4).parameters, one)
    assert np.array_equal(cnn_trainer().initial(4).parameters, one)
    assert not np.array_equal(trainer.initial(5).parameters, one)


def norm_net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


def test_batchnorm_statistics_are_sent_and_its_counter_is_not():
    trainer = TorchTrainer(Task(norm_net))
    assert [(b.name, b.shape) for b in trainer.layout.buffers] == [
        ("2.running_mean", (8,)),
        ("2.running_var", (8,)),
    ]
    model, data = trainer.initial(0), images(20)
    assert model.buffers.tolist() == [0.0] * 8 + [1.0] * 8
    module = norm_net().train()
    nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
    module(torch.from_numpy(data.x))
    got = fit(trainer, data, LocalTraining(batch_size=0), model).buffers
    expected = torch.cat([module[2].running_mean, module[2].running_var]).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)
    tuned = Model(model.parameters, expected)
    module.eval()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(torch.from_numpy(data.x)), torch.from_numpy(data.y))
    assert trainer.evaluate(tuned, data)["loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("n", [1, 11])
def test_a_batch_of_one_trains_with_batchnorms_running_statistics(n):
    trainer = TorchTrainer(Task(norm_net))
    model = trainer.initial(0)
    result = fit(trainer, images(n), LocalTraining(batch_size=10), model)
    assert result.num_examples == n
    assert np.abs(result.delta).max() > 0
    assert np.array_equal(result.buffers, model.buffers) == (n == 1)


def test_buffers_that_are_not_saved_are_not_sent():
    layout = TorchTrainer(Task(Leaky)).layout
    assert [b.name for b in layout.buffers] == ["norm.running_mean", "norm.running_var"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(256, 256, bias=False)
        self.second = nn.Linear(256, 256, bias=False)
        self.second.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.scale = nn.Parameter(torch.full((2,), 2.0), requires_grad=False)
        self.register_buffer("table", torch.ones(256, dtype=torch.int32))

    def forward(self, x):
        return self.second(torch.relu(self.first(x.flatten(1))))[:, :10] * self.scale[0]


def test_tied_weights_are_there_once_frozen_ones_are_constants_and_integers_nowhere():
    trainer = TorchTrainer(Task(Tied))
    assert [t.name for t in trainer.layout.parameters] == ["unused", "first.weight"]
    assert [t.name for t in trainer.layout.constants] == ["scale"]
    model = trainer.initial(0)
    result = fit(trainer, images(20), model=model)
    assert model.constants.tolist() == [2.0, 2.0]
    assert not result.buffers.size
    assert result.delta[:3].tolist() == [0.0] * 3
    factory_delta = plain_tied_delta(model, images(20))
    np.testing.assert_allclose(result.delta[3:], factory_delta, atol=1e-7)
    silenced = Model(model.parameters, constants=np.zeros(2, np.float32))
    assert not fit(trainer, images(20), model=silenced).delta.any()


def plain_tied_delta(model: Model, data: Samples) -> np.ndarray:
    module = Tied()
    weight = torch.from_numpy(model.parameters[3:].copy()).view(256, 256)
    with torch.no_grad():
        module.first.weight.copy_(weight)
    optimizer = torch.optim.SGD([module.first.weight], 0.1)
    order = torch.from_numpy(generator(1, "shuffle", round=1, client="a").permutation(len(data)))
    for index in order.split(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            module(torch.from_numpy(data.x)[index]), torch.from_numpy(data.y)[index]
        ).backward()
        optimizer.step()
    return (module.first.weight.detach() - weight).flatten().numpy()


def test_a_step_is_never_longer_than_the_clipped_gradient_allows():
    local = LocalTraining(learning_rate=0.5, batch_size=0, clip_gradient=0.01)
    delta = fit(cnn_trainer(), images(20), local).delta
    assert np.linalg.norm(delta) == pytest.approx(0.5 * 0.01, rel=1e-3)


def each_clipped(model: Model, data: Samples, largest: float, factory) -> np.ndarray:
    """The mean of the clipped gradients, from one backward pass for each sample."""
    torch.manual_seed(0)
    module = factory()
    nn.utils.vector_to_parameters(torch.from_numpy(model.parameters.copy()), module.parameters())
    total = np.zeros(len(model.parameters))
    for x, y in zip(torch.from_numpy(data.x), torch.from_numpy(data.y), strict=True):
        module.zero_grad()
        nn.functional.cross_entropy(module(x[None]), y[None]).backward()
        gradient = nn.utils.parameters_to_vector([p.grad for p in module.parameters()]).double().numpy()
        total += gradient * min(1.0, largest / np.linalg.norm(gradient))
    return total / len(data)


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small", "gru-char"])
@pytest.mark.parametrize("largest", [0.05, 1.5, 1e6])
def test_a_step_is_the_mean_of_the_samples_clipped_gradients(name, largest):
    words = name == "gru-char"  # whose samples go one after another: torch.func cannot take its GRU
    shape = (6,) if words else (1, 16, 16)
    factory = build(name, input_shape=shape, num_classes=10, hidden=9)
    trainer, data = TorchTrainer(Task(factory)), images(7, shape=shape)
    if words:
        data = Samples(np.random.default_rng(0).integers(10, size=(7, 6)), data.y)
    model = trainer.initial(0)
    local = LocalTraining(learning_rate=0.5, batch_size=0, clip_samples=largest)
    got = fit(trainer, data, local, model)
    expected = -0.5 * each_clipped(model, data, largest, factory)
    np.testing.assert_allclose(got.delta, expected, rtol=0, atol=3e-7)
    loss = fit(trainer, data, LocalTraining(batch_size=0), model).metrics["loss"]
    assert got.metrics["loss"] == pytest.approx(loss, rel=1e-6)


def test_dropout_is_drawn_for_each_sample_apart_when_samples_are_clipped():
    trainer, data = TorchTrainer(Task(dropout_net)), images(1)
    twins = Samples(np.repeat(data.x, 2, 0), np.repeat(data.y, 2))
    local = LocalTraining(batch_size=0, clip_samples=1e6)
    model = trainer.initial(0)
    one, two = (fit(trainer, d, local, model).delta for d in (data, twins))
    assert np.abs(one - two).max() > 1e-4
    assert np.array_equal(fit(trainer, twins, local, model).delta, two)


def test_samples_that_batchnorm_mixes_cannot_be_clipped():
    with pytest.raises(
        ValueError, match=r"client 'a', round 1: clip_samples.*BatchNorm layer '2'.*GroupNorm"
    ):
        fit(TorchTrainer(Task(norm_net)), images(5), LocalTraining(clip_samples=1.0))


def test_a_correction_is_added_to_every_gradient():
    trainer, data = cnn_trainer(), images(20)
    model, local = trainer.initial(0), LocalTraining(learning_rate=1e-6, batch_size=5)
    correction = np.linspace(-1, 1, trainer.layout.dimension, dtype=np.float32)
    plain = trainer.fit(model, data, local, seed=1, round=1, client="a").delta
    moved = trainer.fit(model, data, local, seed=1, round=1, client="a", correction=correction).delta
    np.testing.assert_allclose(moved - plain, -4e-6 * correction, rtol=0, atol=1e-7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused_with_what_to_do():
    for name in ("cuda", "cuda:7", "warp"):
        with pytest.raises(ValueError, match=f"device is '{name}'; torch finds 'cpu'.*leave device out"):
            cnn_trainer(device=name)


def test_the_proximal_term_holds_the_model_nearer():
    far = fit(cnn_trainer(), images(40), LocalTraining(epochs=5)).delta
    near = fit(cnn_trainer(), images(40), LocalTraining(epochs=5, proximal=2.0)).delta
    assert np.linalg.norm(near) < 0.8 * np.linalg.norm(far)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 40), batch=st.integers(1, 41))
def test_evaluation_does_not_depend_on_its_batches(n, batch):
    data = images(n)
    model = cnn_trainer().initial(2)
    whole = cnn_trainer().evaluate(model, data)
    parts = cnn_trainer(evaluation_batch=batch).evaluate(model, data)
    assert parts["accuracy"] == pytest.approx(whole["accuracy"], abs=1e-12)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_own_loss_and_metrics_are_means_over_samples():
    def loss(outputs, targets):
        return ((outputs[:, 0] - targets) ** 2).mean()

    def error(outputs, targets):
        return (outputs[:, 0] - targets).abs()

    def factory():
        net = nn.Linear(1, 1)
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        return net

    trainer = TorchTrainer(Task(factory, loss, {"error": error}), evaluation_batch=2)
    data = Samples(np.zeros((3, 1), np.float32), np.array([1, 2, 6]))
    assert trainer.evaluate(trainer.initial(0), data) == {
        "loss": pytest.approx(41 / 3),
        "error": pytest.approx(3.0),
    }


def test_the_loss_of_a_fit_is_the_mean_over_samples_and_epochs():
    trainer, data = cnn_trainer(), images(11)
    model = trainer.initial(0)
    barely = LocalTraining(learning_rate=1e-12, epochs=2, batch_size=4)
    expected = trainer.evaluate(model, data)["loss"]
    assert fit(trainer, data, barely, model).metrics == {"loss": pytest.approx(expected, rel=1e-6)}


def test_threads_and_generator_of_the_caller_are_left_alone():
    before = torch.get_num_threads()
    other = 2 if before == 1 else 1
    state = torch.random.get_rng_state()
    trainer = cnn_trainer(threads=other)
    fit(trainer, images(5))
    with torch.no_grad():
        fit(trainer, images(5))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_read_only_arrays_are_accepted():
    trainer, data = cnn_trainer(), images(5)
    model = trainer.initial(0)
    for array in (data.x, data.y, model.parameters):
        array.flags.writeable = False
    fit(trainer, data, model=model)
    trainer.evaluate(model, data)


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(3, dtype=torch.bfloat16))


shared = nn.Linear(2, 2)

BAD_TASKS = {
    "an object": (lambda: Task(nn.Linear(2, 2)), "model is a Linear object.*Task\\(MyModel\\)"),
    "not callable": (lambda: Task("cnn"), "model is a str object"),
    "metric named loss": (lambda: Task(Half, metrics={"loss": max}), "'loss'"),
    "loss": (lambda: Task(Half, loss=3), "loss is 3"),
    "not a module": (lambda: TorchTrainer(Task(dict)), "gave {}; it must give a torch.nn.Module"),
    "bfloat16": (lambda: TorchTrainer(Task(Half)), "parameter 'w' is bfloat16; it must be float32"),
    "float64": (lambda: TorchTrainer(Task(lambda: nn.Linear(2, 2).double())), "float64.*\\.float\\(\\)"),
    "lazy": (lambda: TorchTrainer(Task(lambda: nn.LazyLinear(3))), "not LazyLinear"),
    "nothing to learn": (lambda: TorchTrainer(Task(nn.ReLU)), "ReLU has no trainable parameters"),
    "always the same": (lambda: TorchTrainer(Task(lambda: shared)).initial(0), "same parameters twice"),
    "shared layers": (
        lambda: TorchTrainer(Task(lambda: nn.Sequential(shared, nn.Linear(2, 2)))).initial(0),
        "with new layers",
    ),
}


@pytest.mark.parametrize("name", BAD_TASKS)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_bad_task_is_refused_with_what_to_do(name):
    make, message = BAD_TASKS[name]
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_data_are_refused_and_the_client_is_named():
    trainer, good = cnn_trainer(), images(5)
    wrong_shape = Samples(np.zeros((5, 1, 9, 9), np.float32), good.y)
    cases = {
        "client 'a', round 1: there are no samples": good.take(np.arange(0)),
        r"client 'a', round 1: the model .* shape \(1, 9, 9\) \(float32\)": wrong_shape,
        "client 'a', round 1: x is uint8; it must be float32": Samples(good.x.astype(np.uint8), good.y),
        "from 10 to 14": Samples(good.x, np.arange(10, 15)),
        "client 'a', round 1: training diverged.*finite": Samples(good.x * np.float32(np.nan), good.y),
    }
    for message, data in cases.items():
        with pytest.raises(ValueError, match=message):
            fit(trainer, data)
    # The only loss of this fit is finite; its only step is not.
    with pytest.raises(ValueError, match=r"diverged \(loss \d.*learning rate was 3e\+38"):
        fit(trainer, Samples(good.x * 1000, good.y), LocalTraining(learning_rate=3e38))


def test_a_model_of_another_layout_is_refused():
    trainer = cnn_trainer()
    d = trainer.layout.dimension
    with pytest.raises(ValueError, match=f"has float32 of shape \\({d},\\)"):
        trainer.evaluate(Model(np.zeros(d + 1, np.float32)), images(5))
    with pytest.raises(ValueError, match="buffers"):
        trainer.evaluate(Model(np.zeros(d, np.float32), np.zeros(1, np.float32)), images(5))


def test_bad_losses_and_metrics_are_refused():
    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(256, 10))

    vector_loss = TorchTrainer(Task(linear, lambda o, t: o.sum(1)))
    with pytest.raises(ValueError, match="must give a scalar"):
        fit(vector_loss, images(5))
    mean_metric = TorchTrainer(Task(linear, metrics={"top": lambda o, t: o.mean()}))
    with pytest.raises(ValueError, match="metric 'top' gave \\(\\) for 5 samples"):
        mean_metric.evaluate(mean_metric.initial(0), images(5))


def test_the_layout_is_in_the_order_of_the_vector():
    trainer = cnn_trainer()
    model = trainer.initial(7)
    module = build("cnn-small", input_shape=(1, 16, 16), num_classes=10, hidden=20)()
    names = [n for n, _ in module.named_parameters()]
    assert [t.name for t in trainer.layout.parameters] == names
    for part, where in zip(trainer.layout.parameters, trainer.layout.slices(), strict=True):
        assert part.shape == tuple(module.get_parameter(part.name).shape)
        with torch.no_grad():
            module.get_parameter(part.name).copy_(torch.from_numpy(model.parameters[where]).view(part.shape))
    module.eval()
    data = images(8)
    with torch.no_grad():
        loss = nn.functional.cross_entropy(module(torch.from_numpy(data.x)), torch.from_numpy(data.y))
    assert trainer.evaluate(model, data)["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert isinstance(trainer.layout, Layout)


class _Viewing(nn.Module):
    """Flattens with `view`, as most examples do: torch refuses that in the channels-last format."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4 * 5 * 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.max_pool2d(torch.relu(self.norm(self.convolution(x))), 2)
        return self.linear(torch.nn.functional.dropout(hidden.view(-1, 4 * 5 * 5), 0.3, self.training))


def test_a_model_that_flattens_with_view_trains_and_evaluates() -> None:
    random = generator(0, "samples")
    data = Samples(random.normal(size=(12, 1, 12, 12)).astype(np.float32), random.integers(0, 3, 12))
    fresh, used = TorchTrainer(Task(_Viewing)), TorchTrainer(Task(_Viewing))
    model, local = fresh.initial(0), LocalTraining(batch_size=4)
    assert np.isfinite(used.evaluate(model, data)["loss"])
    used.fit(model, data, local, seed=0, round=1, client="other")
    one, other = (t.fit(model, data, local, seed=0, round=1, client="a") for t in (fresh, used))
    assert one.delta.tobytes() == other.delta.tobytes(), "finding the format out must leave no trace"
    assert one.buffers.tobytes() == other.buffers.tobytes()


def test_samples_reach_the_model_aligned_whatever_their_number() -> None:
    """MKL gives other bits for other alignments, so that a process's heap must not decide them."""
    pointers = []

    class Looking(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pointers.append(x.data_ptr() % 64)
            return super().forward(x)

    trainer = TorchTrainer(Task(lambda: Looking(37, 2)))
    random = generator(0, "samples")
    for n in range(1, 20):
        data = Samples(random.normal(size=(n, 37)).astype(np.float32), random.integers(0, 2, n))
        trainer.fit(trainer.initial(0), data, LocalTraining(batch_size=3), seed=0, round=1, client="a")
    assert len(pointers) > 50
    assert set(pointers) == {0}
