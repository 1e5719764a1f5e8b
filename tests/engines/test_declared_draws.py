# ruff: noqa: NPY002
"""Data that declares that loading it draws nothing from the global generators: unseeded, and watched."""

import sys
from collections import deque

import numpy as np
import pytest
from torch import nn

import hedgerow as hr
from hedgerow import generators
from hedgerow.client import data
from hedgerow.client.data import AlikeEachTime
from hedgerow.datasets.held_out import HeldOut
from tests.engines.test_global_generators import Drawn, numbers, run, samples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")


class Plain:
    """Clients whose loader draws nothing from the global generators, and may say so."""

    def __init__(self, **declared):
        self.names = [f"client {k}" for k in range(8)]
        self.__dict__ |= declared

    def samples(self, name):
        return samples(self.names.index(name))


def seeds_of_loading(monkeypatch, clients, **options):
    """The run, and how often the generators were seeded to load data."""
    asked, sound = [], data.integer_seed
    monkeypatch.setattr(data, "integer_seed", lambda *a, **whose: asked.append(whose) or sound(*a, **whose))
    return numbers(run(hr.Task(lambda: nn.Linear(4, 3)), clients, **options)), len(asked)


@pytest.mark.parametrize("options", [{}, {"trainer": "batch"}, {"workers": 2}])
def test_a_loader_that_says_that_it_draws_nothing_is_not_seeded_and_gives_the_same_run(options, monkeypatch):
    expected, seeds = seeds_of_loading(monkeypatch, Plain(), **options)
    assert bool(seeds) == ("workers" not in options)  # there it is other processes that load
    assert seeds_of_loading(monkeypatch, Plain(draws=False), **options) == (expected, 0)


def test_a_federation_of_a_data_set_says_so_also_where_it_holds_samples_out():
    federation = hr.load_dataset("heart-disease").split(hr.iid(3))
    assert not federation.draws
    assert not HeldOut(federation, 0.2).draws
    assert HeldOut(Drawn(False), 0.2).draws


def test_a_loader_that_says_so_and_draws_is_refused_by_name():
    clients = Drawn(False)
    clients.draws = False
    with pytest.raises(ValueError, match=r"Drawn declares draws = False, and loading client 'client \d'"):
        run(hr.Task(lambda: nn.Linear(4, 3)), clients)
    for load in (AlikeEachTime(clients).samples, AlikeEachTime(HeldOut(clients, 0.2)).held_out):
        with generators.undisturbed(), pytest.raises(ValueError, match="declares draws = False"):
            load("client 1")


class DrawsFor:
    """Two parts of the same numbers, and draws where it is told to."""

    names, draws = [f"client {k}" for k in range(64)], False

    def __init__(self, part: str, client: str) -> None:
        self._where = part, client

    def samples(self, name: str, part: str = "samples") -> hr.Samples:
        if (part, name) == self._where:
            np.random.random()
        return hr.Samples(np.ones((2, 4), np.float32), np.zeros(2, np.int64))

    def held_out(self, name: str) -> hr.Samples:
        return self.samples(name, "held_out")


@pytest.mark.parametrize("part", ["samples", "held_out"])
def test_a_draw_is_found_though_other_parts_and_other_clients_were_loaded_without_one(part):
    loaded = AlikeEachTime(DrawsFor(part, "client 1"))
    parts = ((load, name) for name in loaded.names for load in (loaded.samples, loaded.held_out))
    with generators.undisturbed(), pytest.raises(ValueError, match="loading client 'client 1' draws"):
        deque(load(name) for load, name in parts)
