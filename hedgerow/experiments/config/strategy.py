"""The strategy that `[strategy]` and `[local]` describe."""

from dataclasses import asdict

from hedgerow.experiments.config.arguments import (
    python_values,
)
from hedgerow.experiments.config.sections import StrategyConfig
from hedgerow.recipe import strategy as recipe
from hedgerow.strategies.origin import Draws, draws_of
from hedgerow.strategies.presets import PRESETS
from hedgerow.strategies.sampling import Sampling, uniform
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining

# Arguments of a preset that come from other keys of the file.
INNER = ("sampling", "local", "pipeline", "downlink", "aggregate", "parts")


def build_strategy(config: StrategyConfig, local: LocalTraining) -> Strategy:
    """Build the strategy that `[strategy]` and `[local]` describe.

    Raises:
        ValueError: they do not fit together.
    """
    return recipe.build(
        {
            "preset": config.name,
            "options": python_values(PRESETS.get(config.name), config.options, inner=INNER),
            "sampling": _sampling(config).name,
            "local": asdict(local),
            "pipeline": config.pipeline,
            "downlink": config.downlink,
            "aggregate": config.aggregate,
            "weighted": config.weighted,
            "quorum": config.quorum,
            "max_weight": config.max_weight,
            "max_norm": config.max_norm,
            "norm_bound": config.norm_bound,
            **({} if config.personal is None else {"personal": config.personal}),
        }
    )


def _sampling(config: StrategyConfig) -> Sampling:
    draws = private_draws(config.name)
    if draws is None:
        if config.population is not None:
            raise ValueError(
                f"population is {config.population}; it must be left out: {config.name} samples from the"
                " clients that are online"
            )
        return uniform(config.clients_per_round, fraction=config.fraction)
    if config.population is None:
        raise ValueError(
            f"{config.name} needs population, the intended number of clients: a client's chance of being"
            " drawn must not depend on which clients are online"
        )
    clients = config.clients_per_round or (config.fraction or 0) * config.population
    return draws(clients, config.population)


def private_draws(name: object) -> Draws | None:
    """How the private preset of that name draws from a population; `None` if there is no such preset."""
    return draws_of(PRESETS.get(str(name))) if name in PRESETS.names() else None
