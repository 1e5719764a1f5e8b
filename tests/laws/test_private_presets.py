"""A private preset of another package draws from a population in recipes, as Hedgerow's own do."""

import pytest

from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.parse import parse
from hedgerow.privacy.accounting import Budget
from hedgerow.strategies import PRESETS, Strategy, chain, clip, cyclic, gaussian_noise
from hedgerow.strategies.origin import described, private
from hedgerow.strategies.parts import assemble
from hedgerow.strategies.server_update import sgd

TABLE = {
    "name": "quiet",
    "rounds": 20,
    "data": {"name": "heart-disease", "partition": {"name": "natural"}},
    "model": {"name": "logistic"},
}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PRESETS, "_registered", {})

    @PRESETS.register("quiet")
    @private(cyclic)
    @described
    def quiet(noise_multiplier: float = 1.0, epsilon: float | None = None, **parts) -> Strategy:
        """Little said."""
        steps = chain(clip(0.5), gaussian_noise(noise_multiplier))
        default = {"sampling": cyclic(10, population=100)}
        chosen = {**default, **parts, "pipeline": steps, "weighted": False}
        return assemble("quiet", sgd(1.0), chosen, budget=Budget(1e-4, epsilon))


def strategy(**keys) -> Strategy:
    return parse({**TABLE, "strategy": {"name": "quiet", **keys}}).strategy()


def test_cohorts_are_drawn_as_it_declares_and_nobody_is_weighted() -> None:
    made = strategy(population=100, clients_per_round=10)
    assert made.sampling.name == "cyclic(10, population=100)"
    assert "weight" not in made.pipeline.kinds


def test_an_epsilon_stands_for_the_noise() -> None:
    loud, low = (strategy(population=100, clients_per_round=10, epsilon=epsilon) for epsilon in (8.0, 1.0))
    assert low.release.noise.multiplier > 2 * loud.release.noise.multiplier


def test_without_a_population_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="quiet needs population"):
        strategy(clients_per_round=10)
