"""The cases that are attacked: what is seen of whom, and what was found in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from benchmarks.inversion.attack import Effort, best_constant, best_match, invert
from benchmarks.inversion.second_order import SecondOrder
from benchmarks.inversion.seen import ONE_STEP, Cohort, Victim, ring_update, run, sent_update
from hedgerow.strategies import Transform, dp_fedavg, fedavg, poisson, secure_fedavg, uniform
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import Layout, Model, RoundResult, Samples, Vector

Pictures = NDArray[np.float32]


@dataclass
class Found:
    """True pictures, the reconstruction closest to each, and the PSNR of both and of the best constant."""

    true: list[Pictures] = field(default_factory=list)
    found: list[Pictures] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    constant: list[float] = field(default_factory=list)

    def add(self, pictures: Pictures, reconstructions: Sequence[Pictures]) -> None:
        """Count in what attacks on the same update have found."""
        found = np.concatenate(reconstructions)
        errors = ((pictures[:, None] - found[None]) ** 2).mean((2, 3, 4))
        self.true += list(pictures)
        self.found += list(found[errors.argmin(1)])
        self.psnr += best_match(pictures, found)
        self.constant += [best_constant(picture) for picture in pictures]

    @property
    def gains(self) -> NDArray[np.float64]:
        """By how many dB each reconstruction is closer than the best constant."""
        return np.array(self.psnr) - np.array(self.constant)

    def summary(self) -> dict[str, float | int]:
        """In numbers."""
        return {
            "pictures": len(self.psnr),
            "median_psnr_db": round(float(np.median(self.psnr)), 1),
            "median_constant_db": round(float(np.median(self.constant)), 1),
            "largest_gain_db": round(float(self.gains.max()), 1),
            "recovered": int((np.array(self.psnr) > 20).sum()),
        }


@dataclass(frozen=True)
class Attacker:
    """Attacks one model, with one or more efforts; of several, what comes closest counts."""

    victim: Victim
    efforts: tuple[Effort, ...]

    def reconstruct(
        self, model: Model, layout: Layout, update: Vector, own: Samples, seed: int
    ) -> list[Pictures]:
        """What each effort finds; of the client's samples, it is given the labels."""
        module = self.victim.module(model)
        return [
            invert(module, layout, update, own.y, self.victim.shape, effort, seed) for effort in self.efforts
        ]


def plain(
    attacker: Attacker | SecondOrder,
    samples: Samples, pipeline: Transform, targets: int, each: int, seed: int,
) -> Found:  # fmt: skip
    """FedAvg: the replies of `targets` clients with `each` pictures, one after another."""
    cohort, found = Cohort.of(samples, targets, each), Found()
    strategy = fedavg(pipeline=pipeline, local=ONE_STEP, sampling=uniform(targets))
    layout, heard = attacker.victim.trainer().layout, dict[str, RecordDict]()
    first, _ = run(
        attacker.victim, cohort, strategy, lambda name, kind, reply: heard.update({name: reply}), seed=seed
    )
    for name, reply in heard.items():
        own = cohort.samples(name)
        update = sent_update(reply, strategy, layout, seed=seed, round=1, client=name)
        found.add(own.x, attacker.reconstruct(first, layout, update, own, seed))
    return found


def fine_masks(clients: int, each: int) -> Strategy:
    """Secure aggregation whose quantiser is so fine that it hides nothing by itself."""
    return secure_fedavg(
        clip_norm=5.0, bits=16, value_range=0.1, max_examples=each, local=ONE_STEP, sampling=uniform(clients)
    )


def ring_vectors(
    attacker: Attacker, samples: Samples, clients: int, targets: int, seed: int, *, masks: bool
) -> Found:
    """Secure FedAvg: the ring vectors of the first clients, each with one picture, decoded as if unmasked."""
    cohort, strategy, found = Cohort.of(samples, clients, 1), fine_masks(clients, 1), Found()
    layout, heard = attacker.victim.trainer().layout, dict[str, RecordDict]()
    wanted = "train.masked" if masks else "train"

    def hear(name: str, kind: str, reply: RecordDict) -> None:
        if kind == wanted and name in cohort.names[:targets]:
            heard[name] = reply

    first, _ = run(attacker.victim, cohort, strategy, hear, seed=seed, masks=masks)
    for name, reply in heard.items():
        own = cohort.samples(name)
        update = ring_update(reply, strategy, layout, clients, seed)
        found.add(own.x, attacker.reconstruct(first, layout, update, own, seed))
    return found


def secure_sum(attacker: Attacker, samples: Samples, clients: int, each: int, seed: int) -> Found:
    """Secure FedAvg: the sum of a cohort, against every picture in it.

    It is computed without masks: the same sum, bit for bit.
    """
    cohort, models = Cohort.of(samples, clients, each), list[Model]()
    first, _ = run(
        attacker.victim, cohort, fine_masks(clients, each), lambda *reply: None,
        seed=seed, masks=False, each=lambda result: models.append(result.state.model),
    )  # fmt: skip
    layout, everything, found = attacker.victim.trainer().layout, cohort.all(), Found()
    update = models[0].parameters - first.parameters
    found.add(everything.x, attacker.reconstruct(first, layout, update, everything, seed))
    return found


@dataclass(frozen=True)
class Private:
    """What was found in a private run.

    Attributes:
        released: in how the model moved, against every picture of the cohort.
        alone: in the same, less what every other client has added: one client
            and the noise are left.
        clipped: in what that client added, without the noise.
        epsilon: of the whole run, by its ledger.
    """

    released: Found
    alone: Found
    clipped: Found
    epsilon: float


@dataclass
class _Ear:
    """Adds up, in some rounds, what all clients but one have added to the sum."""

    strategy: Strategy
    layout: Layout
    seed: int
    targets: dict[int, str]
    others: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    own: dict[int, Vector] = field(default_factory=dict)

    def hear(self, name: str, kind: str, reply: RecordDict) -> None:
        """Listen to a reply."""
        record = reply["hedgerow"] if kind == "train" else {}
        round = int(record.get("round", 0))  # type: ignore[union-attr, arg-type]
        if round not in self.targets:
            return
        update = sent_update(reply, self.strategy, self.layout, seed=self.seed, round=round, client=name)
        release = self.strategy.release
        added = release.contribution(update, release.server_clip.norm({}))
        if name == self.targets[round]:
            self.own[round] = added
        else:
            before = self.others.get(round, np.zeros(self.layout.dimension))
            self.others[round] = before + added.astype(np.float64)


def private(
    attacker: Attacker,
    seeker: Attacker, samples: Samples, noise_multiplier: float, expected: int, population: int,
    attacked: Sequence[int], num_rounds: int, seed: int, sought: int | None = None,
) -> Private:  # fmt: skip
    """DP-FedAvg: clients with one picture each, for all of a budget's rounds, some of them attacked.

    In the first `sought` of them, the whole cohort is sought too; in all by default.
    """
    cohort = Cohort.of(samples, population, 1)
    strategy = dp_fedavg(
        0.3, noise_multiplier, delta=1e-5, local=ONE_STEP, sampling=poisson(expected, population=population)
    )
    layout = attacker.victim.trainer().layout
    chosen = {number: strategy.sampling.choose(cohort.names, seed, number) for number in attacked}
    ear = _Ear(strategy, layout, seed, {number: names[0] for number, names in chosen.items()})
    models: dict[int, Model] = {}

    def keep(result: RoundResult) -> None:
        state = result.state
        if {state.round, state.round + 1} & set(attacked):
            models[state.round] = state.model

    first, ledger = run(
        attacker.victim, cohort, strategy, ear.hear, seed=seed, num_rounds=num_rounds, each=keep
    )
    models[0] = first
    released, alone, clipped = Found(), Found(), Found()
    for place, (number, names) in enumerate(chosen.items()):
        before = models[number - 1]
        moved = models[number].parameters.astype(np.float64) - before.parameters
        left = (moved * expected - ear.others[number]).astype(np.float32)
        everybody = Cohort({name: cohort.samples(name) for name in names}).all()
        own = cohort.samples(names[0])
        for into, pictures, update in (
            (released, everybody, moved.astype(np.float32)),
            (alone, own, left),
            (clipped, own, ear.own[number]),
        ):
            if into is released and sought is not None and place >= sought:
                continue
            who = seeker if into is released else attacker
            into.add(pictures.x, who.reconstruct(before, layout, update, pictures, seed + number))
    assert ledger is not None
    return Private(released, alone, clipped, ledger.epsilon)


def joined(parts: Sequence[Found]) -> Found:
    """What several attacks on the same case have found."""
    whole = Found()
    for part in parts:
        for name, values in vars(part).items():
            getattr(whole, name).extend(values)
    return whole


def harder(efforts: tuple[Effort, ...]) -> tuple[Effort, ...]:
    """The same, and with more smoothing, which helps against noise."""
    return efforts + tuple(replace(effort, total_variation=30 * effort.total_variation) for effort in efforts)
