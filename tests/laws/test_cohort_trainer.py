"""Clients trained side by side get what each gets alone, to rounding, and the same bits in any company."""

import dataclasses
import hashlib
import json
import pickle
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hedgerow.client.cohort import Choice, CohortTrainer
from hedgerow.client.cohort.autotune.forecast import UNLIMITED, batch_seconds, best_plan
from hedgerow.client.cohort.schedule import batch_rows
from hedgerow.client.task import Task
from hedgerow.models import MODELS, build
from hedgerow.types import Fit, LocalTraining, Model, Samples

CLASSES = 5


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, and the shape of a sample; `words` are the values of integer samples."""

    factory: object
    shape: tuple[int, ...]
    words: int = 0

    def clients(self, sizes, seed=0):
        rng = np.random.default_rng([seed, *sizes])
        return [
            (
                f"client {k}",
                Samples(
                    rng.integers(self.words, size=(n, *self.shape))
                    if self.words
                    else rng.normal(size=(n, *self.shape)).astype(np.float32),
                    rng.integers(CLASSES, size=n),
                ),
            )
            for k, n in enumerate(sizes)
        ]


def shipped(name, shape, words=0, **options) -> Case:
    return Case(build(name, input_shape=shape, num_classes=CLASSES, **options), shape, words)


SHIPPED = {
    "logistic": shipped("logistic", (2, 3)),
    "mlp-2nn": shipped("mlp-2nn", (7,), hidden=9),
    "cnn-fedavg": shipped("cnn-fedavg", (1, 4, 4)),
    "cnn-small": shipped("cnn-small", (3, 16, 16), hidden=13),
    "cnn-1d": shipped("cnn-1d", (3, 9), width=5),
    "resnet-gn-tiny": shipped("resnet-gn-tiny", (2, 5, 6), width=4, groups=2),
    "gru-char": shipped("gru-char", (6,), words=CLASSES, embedding=3, hidden=7),
    "lstm-char": shipped("lstm-char", (6,), words=CLASSES, embedding=3, hidden=7),
}

OPTIMIZERS = {
    "sgd": LocalTraining(learning_rate=0.05),
    "momentum": LocalTraining(learning_rate=0.02, momentum=0.9),
    "adam": LocalTraining(optimizer="adam", learning_rate=0.001),
}

# Of local training; the correction is an argument of each fit.
OPTIONS = {
    "plain": {},
    "weight decay": {"weight_decay": 0.1},
    "proximal": {"proximal": 0.5},
    "clipped gradient": {"clip_gradient": 0.3},
    "clipped samples": {"clip_samples": 0.5},
    "correction": {},
    "everything": {
        "weight_decay": 0.01, "proximal": 0.1, "clip_gradient": 0.4, "clip_samples": 0.6,
        "learning_rate_decay": 0.5,
    },
}  # fmt: skip
CORRECTED = ("correction", "everything")


class Dropping(nn.Module):
    """Dropout of every kind, in and out of a channels-last format."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)
        self.channels, self.values = nn.Dropout2d(0.3), nn.Dropout(0.4)
        self.linear = nn.Linear(4 * 9, CLASSES)

    def forward(self, x):
        x = self.values(self.channels(self.conv(x)))
        return F.dropout(self.linear(x.flatten(1)), 0.1, self.training)


class Norms(nn.Module):
    """BatchNorm of both kinds and of all settings, and other norms."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(4, momentum=0.3)
        self.linear = nn.Linear(4 * 9, 24)
        self.flat = nn.BatchNorm1d(24, affine=False)
        self.groups, self.layer = nn.GroupNorm(2, 24), nn.LayerNorm(24)
        self.out = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = F.avg_pool2d(F.gelu(self.norm(self.conv(x))), 1)
        x = self.layer(self.groups(self.linear(x.reshape(x.size(0), -1))))
        return self.out(self.flat(x))


class Attention(nn.Module):
    """A transformer: torch's layer, and one written by hand, with tied and frozen weights."""

    def __init__(self, dropout=0.1, norm_first=False):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 8)
        self.position = nn.Embedding(6, 8)
        # No ReLU: a rounding may decide its side, and then a value differs by more than a rounding.
        self.encoder = nn.TransformerEncoderLayer(
            8, 2, 11, dropout, F.gelu, batch_first=True, norm_first=norm_first
        )
        self.qkv = nn.Linear(8, 24)
        self.scale = nn.Parameter(torch.full((8,), 0.7), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("steps", torch.arange(6), persistent=False)

    def forward(self, x):
        x = self.embedding(x) + self.position(self.steps)
        x = self.encoder(x) * self.scale
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        return F.linear(F.silu(x).mean(1), self.embedding.weight)


class Unusual(nn.Module):
    """Layers and functions that have no form of their own here."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 3, 2)
        self.mix = nn.Bilinear(9, 9, 4)
        self.relu = nn.PReLU()
        self.out = nn.Parameter(torch.linspace(-1, 1, 4 * CLASSES).view(4, CLASSES))

    def forward(self, x):
        x = self.relu(self.up(x)).amax((2, 3)).repeat(1, 3)
        return torch.einsum("bi,ij->bj", torch.sin(self.mix(x, x.flip(1))), self.out)


class Branching(nn.Module):
    """Cannot be traced, but goes through vmap: it asks for the type of its input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, x):
        if not isinstance(x, torch.Tensor):
            raise TypeError("a tensor, please")
        return self.linear(x.flatten(1)).sigmoid() * 3


OWN = {
    "a layer": Case(lambda: nn.Linear(7, CLASSES), (7,)),
    "dropout": Case(Dropping, (2, 5, 5)),
    "norms": Case(Norms, (2, 5, 5)),
    "transformer": Case(Attention, (6,), CLASSES),
    "norm first": Case(lambda: Attention(0.0, True), (6,), CLASSES),
    "unusual": Case(Unusual, (2, 3, 3)),
    "branching": Case(Branching, (2, 3)),
}

NORMS_TOLERANCE = 2e-5
"""Three or four values are divided by their spread, which may be small: 4.1e-6 apart at most in 350 fits.
The loop in float32 is as far from itself in float64 as from the batch."""


@cache
def trainer_of(name: str, at_once: int = 3) -> tuple[CohortTrainer, Model]:
    """A trainer that trains side by side, whatever is faster."""
    trainer = CohortTrainer(Task({**SHIPPED, **OWN}[name].factory), mode="batch", at_once=at_once)
    return trainer, trainer.initial(2)


def corrections_of(trainer, clients):
    rng = np.random.default_rng(5)
    return {
        name: rng.normal(scale=0.05, size=trainer.layout.dimension).astype(np.float32) for name, _ in clients
    }


def close_but_for_tiny_gradients(got, alone):
    """To 1e-6, but for few values whose gradient is near Adam's epsilon, 1e-8, and so mostly rounding.

    Adam divides a gradient by its own size: 1e-9 more of it is a tenth of a step more. Measured in 2,900
    fits of the shipped models: 4.5e-5 at most, where a step is 1e-3, and every value of SGD within 5e-7.
    """
    apart = np.abs(got - alone)
    assert np.mean(apart > 1e-6) < 0.01
    assert apart.max() < 2e-4


def compare(name, sizes, local, round=1, tolerance=1e-6, corrected=False):
    trainer, model = trainer_of(name)
    clients = {**SHIPPED, **OWN}[name].clients(sizes)
    corrections = corrections_of(trainer, clients) if corrected else None
    trainer.choose(model, clients, local, seed=4, round=round)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "_alone", None)  # a batch that fails would be made up for in the loop
        got = dict(trainer.fit_many(model, clients, local, seed=4, round=round, corrections=corrections))
    assert got.keys() == {client for client, _ in clients}
    assert trainer.choice.method == "batch"
    for client, data in clients:
        correction = corrections[client] if corrections else None
        alone = trainer.fit(model, data, local, seed=4, round=round, client=client, correction=correction)
        if local.optimizer == "adam":
            close_but_for_tiny_gradients(got[client].delta, alone.delta)
        else:
            np.testing.assert_allclose(got[client].delta, alone.delta, rtol=0, atol=tolerance)
        np.testing.assert_allclose(got[client].buffers, alone.buffers, rtol=0, atol=tolerance)
        assert got[client].metrics == {"loss": pytest.approx(alone.metrics["loss"], rel=2e-6, abs=2e-6)}
        assert got[client].num_examples == len(data)
        assert np.abs(alone.delta).max() > 1e-4


def test_every_shipped_model_is_here():
    assert SHIPPED.keys() == set(MODELS.names())


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=2, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5), batch_size=st.sampled_from([0, 3, 4, 10]))
def test_a_client_in_a_batch_gets_what_it_gets_alone(name, optimizer, option, sizes, batch_size):
    local = dataclasses.replace(OPTIMIZERS[optimizer], batch_size=batch_size, **OPTIONS[option])
    compare(name, sizes, local, round=3, corrected=option in CORRECTED)


# BatchNorm has no gradient of one sample; what cannot be traced has other last bits in other company there.
UNCLIPPED = ("norms", "branching")


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("name", OWN)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    batch_size=st.sampled_from([0, 1, 4]),
    option=st.sampled_from(["plain", "clipped samples", "everything"]),
)
def test_a_users_own_model_too(name, optimizer, sizes, batch_size, option):
    tolerance = 1e-6
    if name in UNCLIPPED:
        option = "correction"
    if name == "norms":
        # Of two samples BatchNorm makes +1 and -1, whatever they are: its gradient is mostly rounding.
        sizes, tolerance = [n + (n % 4 == 2) for n in sizes], NORMS_TOLERANCE
    local = dataclasses.replace(OPTIMIZERS[optimizer], batch_size=batch_size, **OPTIONS[option])
    compare(name, sizes, local, tolerance=tolerance, corrected=option in CORRECTED)


COMPANY = {
    "sgd": OPTIMIZERS["sgd"],
    "adam": OPTIMIZERS["adam"],
    "clipped samples": LocalTraining(momentum=0.5, clip_samples=0.3),
}


def the_same(a: Fit, b: Fit) -> bool:
    return (
        np.array_equal(a.delta, b.delta) and np.array_equal(a.buffers, b.buffers) and a.metrics == b.metrics
    )


@pytest.mark.parametrize("local", COMPANY.values(), ids=COMPANY)
@pytest.mark.parametrize("name", [*SHIPPED, *OWN])
@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 11), min_size=2, max_size=8),
    batch_size=st.sampled_from([0, 1, 4, 10]),
    data=st.data(),
)
def test_company_order_and_place_do_not_change_a_bit(name, local, sizes, batch_size, data):
    trainer, model = trainer_of(name, 5)
    clipped = local.clip_samples if name not in UNCLIPPED else 0.0
    local = dataclasses.replace(local, batch_size=batch_size, clip_samples=clipped)
    clients = {**SHIPPED, **OWN}[name].clients(sizes)
    corrections = corrections_of(trainer, clients) if local.optimizer == "adam" else None
    everyone = dict(trainer.fit_many(model, clients, local, seed=1, round=1, corrections=corrections))
    for some in (data.draw(st.permutations(clients)), data.draw(st.permutations(clients))[:2], clients[:1]):
        for client, fit in trainer.fit_many(model, some, local, seed=1, round=1, corrections=corrections):
            assert the_same(fit, everyone[client])


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small"])
def test_the_place_does_not_matter_for_sizes_that_are_no_multiple_of_anything(name):
    # The processor computes whole registers and cache lines; 37 x 13 and 785 x 3 fit into neither.
    shape, options = ((785,), {"hidden": 37}) if name == "mlp-2nn" else ((1, 17, 19), {"hidden": 37})
    case = shipped(name, shape, **options)
    trainer = CohortTrainer(Task(case.factory), mode="batch", at_once=7)
    model, clients = trainer.initial(0), case.clients([10] * 9 + [3] * 4 + [1] * 3)
    for local in (
        LocalTraining(),
        LocalTraining(momentum=0.9, clip_gradient=0.1),
        LocalTraining(batch_size=0),
        LocalTraining(clip_samples=0.1),
    ):
        together = dict(trainer.fit_many(model, clients, local, seed=1, round=1))
        for client in clients:
            ((_, alone),) = trainer.fit_many(model, [client], local, seed=1, round=1)
            assert the_same(alone, together[client[0]])


def digest() -> str:
    found = hashlib.sha256()
    for name in ("mlp-2nn", "cnn-small", "transformer"):
        case = {**SHIPPED, **OWN}[name]
        trainer = CohortTrainer(Task(case.factory), choice=Choice("batch", "", at_once=3, narrowest=2))
        model, clients = trainer.initial(1), case.clients([7, 13, 1, 22, 8])
        fits = dict(trainer.fit_many(model, clients, OPTIMIZERS["momentum"], seed=1, round=1))
        found.update(b"".join(fits[client].delta.tobytes() for client, _ in clients))
    return found.hexdigest()


PROGRAM = """
import sys, torch
torch.manual_seed(3)
torch.set_num_threads(2)
sys.path.insert(0, sys.argv[1])
from test_cohort_trainer import digest
print(digest())
"""


def test_another_process_gives_the_same_bits():
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
    root = Path(__file__).parents[2]
    other = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()


def test_a_batch_that_must_not_grow_narrower_gives_the_same_to_rounding():
    case = SHIPPED["cnn-small"]
    pinned = CohortTrainer(Task(case.factory), choice=Choice("batch", "", at_once=4, narrowest=4))
    model, clients = pinned.initial(2), case.clients([9, 2, 5, 5, 30])
    for client, fit in pinned.fit_many(model, clients, LocalTraining(), seed=1, round=1):
        alone = pinned.fit(model, dict(clients)[client], LocalTraining(), seed=1, round=1, client=client)
        np.testing.assert_allclose(fit.delta, alone.delta, rtol=0, atol=1e-6)


def test_loop_and_batch_agree_over_twenty_rounds():
    case = shipped("mlp-2nn", (12,), hidden=16)
    task, clients = Task(case.factory), case.clients([3, 20, 11, 7, 40, 1])
    local = LocalTraining(learning_rate_decay=0.99)
    finals = []
    for mode in ("loop", "batch"):
        trainer = CohortTrainer(task, mode=mode)
        model = trainer.initial(0)
        for round in range(1, 21):
            fits = dict(trainer.fit_many(model, clients, local, seed=1, round=round))
            mean = np.mean([fits[name].delta for name, _ in clients], axis=0, dtype=np.float64)
            model = Model((model.parameters + mean).astype(np.float32))
        finals.append(model.parameters)
    np.testing.assert_allclose(finals[0], finals[1], rtol=0, atol=1e-5)
    assert np.abs(finals[0] - trainer.initial(0).parameters).max() > 0.1


def test_own_losses_see_samples_and_no_filling():
    def spread(outputs, targets):
        # Not a mean over samples: it would notice a row more.
        return F.mse_loss(outputs[:, 0], targets.float()) + outputs.std(0, correction=0).mean()

    case = SHIPPED["mlp-2nn"]
    trainer = CohortTrainer(Task(case.factory, loss=spread), mode="batch", at_once=3)
    model, local = trainer.initial(0), LocalTraining(learning_rate=0.02, batch_size=4)
    clients = case.clients([4, 6, 9, 3, 8])
    for client, fit in trainer.fit_many(model, clients, local, seed=1, round=1):
        alone = trainer.fit(model, dict(clients)[client], local, seed=1, round=1, client=client)
        np.testing.assert_allclose(fit.delta, alone.delta, rtol=0, atol=1e-6)


def faulty(case: Case) -> dict[str, Samples]:
    good = case.clients([9, 9, 9, 9, 9])
    x, y = good[0][1].x, good[0][1].y
    return {
        **dict(good),
        "empty": Samples(x[:0], y[:0]),
        "of another shape": Samples(x[..., 1:], y),
        "of bytes": Samples(x.astype(np.uint8), y),
        "of no class": Samples(x, y + CLASSES),
        "of negative classes": Samples(x, y - 1),
        "not finite": Samples(x * np.float32(np.nan), y),
    }


@pytest.mark.parametrize("mode", ["auto", "batch", "loop"])
@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small"])
def test_a_clients_error_is_its_own(name, mode):
    case = SHIPPED[name]
    trainer = CohortTrainer(Task(case.factory), mode=mode)
    model, data = trainer.initial(0), faulty(case)
    got = dict(trainer.fit_many(model, list(data.items()), LocalTraining(), seed=1, round=1))
    assert got.keys() == data.keys()
    for client, result in got.items():
        arguments = (model, data[client], LocalTraining())
        if client.startswith("client"):
            alone = trainer.fit(*arguments, seed=1, round=1, client=client)
            np.testing.assert_allclose(result.delta, alone.delta, rtol=0, atol=1e-6)
        else:
            assert type(result) is ValueError
            with pytest.raises(ValueError, match=re.escape(str(result))):
                trainer.fit(*arguments, seed=1, round=1, client=client)
    healthy = {n: d for n, d in data.items() if n.startswith("client")}
    for client, fit in trainer.fit_many(model, list(healthy.items()), LocalTraining(), seed=1, round=1):
        assert the_same(fit, got[client])


def test_words_out_of_the_vocabulary_do_not_reach_another_clients_embedding():
    case = SHIPPED["gru-char"]
    trainer, model = trainer_of("gru-char")
    clients = case.clients([5, 5, 5])
    clients[1][1].x[2, 3] = CLASSES
    got = dict(trainer.fit_many(model, clients, LocalTraining(), seed=1, round=1))
    assert isinstance(got["client 1"], ValueError)
    assert isinstance(got["client 0"], Fit)
    assert isinstance(got["client 2"], Fit)


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)
        self.last = torch.zeros(CLASSES)

    def forward(self, x):
        out = self.linear(x.flatten(1)) + self.last
        self.last = out.detach().mean(0)
        return out


class Counting(Stateful):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.seen += 1
        return self.linear(x.flatten(1)) / self.seen


class DataDependent(Stateful):
    def forward(self, x):
        return self.linear(x.flatten(1) if x.sum() > 0 else -x.flatten(1))


def hooked():
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    module[1].register_forward_hook(lambda module, args, out: out * 2)
    return module


class Alpha(Stateful):
    def forward(self, x):
        return F.alpha_dropout(self.linear(x.flatten(1)), 0.5, self.training)


UNBATCHED = {
    "state": (Stateful, "keeps state"),
    "buffer": (Counting, "keeps state"),
    "data-dependent": (DataDependent, "data-dependent"),
    "hooks": (hooked, "hooks"),
    "random numbers": (Alpha, "random"),
}


@pytest.mark.parametrize("name", UNBATCHED)
def test_a_model_that_cannot_be_batched_is_trained_in_a_loop_and_the_reason_is_kept(name):
    factory, reason = UNBATCHED[name]
    clients = Case(factory, (2, 3)).clients([7, 25, 4])
    trainer = CohortTrainer(Task(factory))
    model = trainer.initial(0)
    for client, fit in trainer.fit_many(model, clients, LocalTraining(), seed=1, round=1):
        alone = trainer.fit(model, dict(clients)[client], LocalTraining(), seed=1, round=1, client=client)
        assert the_same(fit, alone)
    assert trainer.choice.method == "loop"
    with pytest.raises(ValueError, match=f"(?s)mode is 'batch', but.*({reason}).*take mode 'auto' or 'loop'"):
        CohortTrainer(Task(factory), mode="batch").choose(model, clients, LocalTraining(), seed=1, round=1)


@pytest.mark.parametrize("name", ["mlp-2nn", "cnn-small", "transformer"])
def test_a_saved_choice_is_kept_and_gives_the_same_bits(name):
    case = {**SHIPPED, **OWN}[name]
    first = CohortTrainer(Task(case.factory))
    model, clients = first.initial(0), case.clients([20, 13, 40, 2])
    expected = dict(first.fit_many(model, clients, LocalTraining(), seed=1, round=1))
    saved = json.loads(json.dumps(first.choice.to_json()))
    restored = CohortTrainer(Task(case.factory), choice=Choice(**saved))
    sent = pickle.loads(pickle.dumps(first))
    for other in (restored, sent):
        assert other.choice == first.choice
        for client, fit in other.fit_many(model, clients, LocalTraining(), seed=1, round=1):
            assert the_same(fit, expected[client])


def test_each_mode_is_what_it_says_and_a_bad_one_is_refused():
    case = SHIPPED["logistic"]
    task, clients, local = Task(case.factory), case.clients([9, 9]), LocalTraining()
    model = CohortTrainer(task).initial(0)

    def choice(**options):
        return CohortTrainer(task, **options).choose(model, clients, local, seed=1, round=1)

    assert choice(mode="loop") == Choice("loop", "asked for")
    assert (choice(mode="batch").method, choice(mode="batch").at_once) == ("batch", 10)
    assert choice(mode="batch", at_once=4).at_once == 4
    assert set(choice(mode="auto").milliseconds) >= {"1", "4"}
    assert choice(mode="auto", at_once=6).milliseconds.keys() == {"1", "6"}
    with pytest.raises(ValueError, match="Did you mean 'batch'"):
        CohortTrainer(task, mode="bach")
    with pytest.raises(ValueError, match="at_once is 1"):
        CohortTrainer(task, at_once=1)
    with pytest.raises(ValueError, match="narrowest is 5"):
        Choice("batch", "", at_once=4, narrowest=5)


def test_a_client_with_more_steps_than_the_choice_allows_is_trained_alone():
    case = SHIPPED["mlp-2nn"]
    trainer = CohortTrainer(Task(case.factory), choice=Choice("batch", "", 4, 2, most_steps=3))
    model, clients = trainer.initial(0), case.clients([30, 31, 5, 300])
    got = dict(trainer.fit_many(model, clients, LocalTraining(batch_size=10), seed=1, round=1))
    assert got.keys() == dict(clients).keys()
    for name, data in (clients[1], clients[3]):
        assert the_same(got[name], trainer.fit(model, data, LocalTraining(), seed=1, round=1, client=name))


@given(steps=st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_a_plan_is_no_slower_than_all_in_batches(steps):
    each = {4: 0.7, 10: 0.5, 25: 0.45}
    at_once, most_steps, share = best_plan(steps, 1.0, each)
    for number in each:
        everyone = batch_seconds(steps, number, {n: n * seconds for n, seconds in each.items()})
        assert share * sum(steps) <= everyone + 1e-9
    assert at_once in each
    assert 0 < most_steps < max(steps) or most_steps == UNLIMITED


def test_nothing_is_decided_where_no_client_can_be_measured():
    case = SHIPPED["logistic"]
    trainer = CohortTrainer(Task(case.factory))
    model, local = trainer.initial(0), LocalTraining()
    assert list(trainer.fit_many(model, [], local, seed=1, round=1)) == []
    ((_, error),) = trainer.fit_many(model, case.clients([0]), local, seed=1, round=1)
    assert isinstance(error, ValueError)
    assert trainer.choice is None
    dict(trainer.fit_many(model, case.clients([9]), local, seed=1, round=1))
    assert trainer.choice is not None


def test_rounds_can_be_left_early_and_run_at_the_same_time():
    trainer, model = trainer_of("mlp-2nn")
    clients = SHIPPED["mlp-2nn"].clients([9, 4, 30, 12, 7])
    arguments = (model, clients, LocalTraining())
    expected = dict(trainer.fit_many(*arguments, seed=1, round=1))
    one, two = (trainer.fit_many(*arguments, seed=1, round=1) for _ in range(2))
    pairs = list(zip(one, two, strict=True))
    assert len(pairs) == 5
    assert all(the_same(fit, expected[name]) for pair in pairs for name, fit in pair)
    next(trainer.fit_many(*arguments, seed=1, round=1))
    assert all(the_same(f, expected[n]) for n, f in trainer.fit_many(*arguments, seed=1, round=1))


def test_results_are_not_views_of_the_trainer_and_its_arguments_are_left_alone():
    trainer, model = trainer_of("norms")
    clients = OWN["norms"].clients([9, 4, 12])
    for array in (model.parameters, model.buffers, *(a for _, d in clients for a in (d.x, d.y))):
        array.flags.writeable = False
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    first = dict(trainer.fit_many(model, clients, LocalTraining(), seed=1, round=1))
    kept = {name: (fit.delta.copy(), fit.buffers.copy()) for name, fit in first.items()}
    for _ in trainer.fit_many(model, clients, LocalTraining(), seed=2, round=1):
        assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, fit in first.items():
        assert np.array_equal(fit.delta, kept[name][0])
        assert np.array_equal(fit.buffers, kept[name][1])


@given(samples=st.integers(1, 3000), batch_size=st.integers(0, 400))
def test_filling_is_at_most_a_quarter_of_a_small_clients_batch(samples, batch_size):
    rows = batch_rows(samples, batch_size)
    taken = min(samples, batch_size or samples)
    assert taken <= rows <= (batch_size or rows)
    assert rows <= 1.25 * taken
