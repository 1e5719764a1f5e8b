"""The lineage of a run's model, from the run's folder."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import hedgerow
from hedgerow.client.account import most_spent
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.promotion.lineage import Lineage

Lines = Sequence[dict[str, Any]]


def lineage_of(run: RunFolder, experiment: Experiment, name: str, round: int, trust: str) -> Lineage:
    """The lineage of the model of a round.

    Args:
        run: its folder.
        experiment: of the run.
        name: of the run.
        round: that made the model.
        trust: what vouches for the clients.
    """
    lines = [line for line in run.rounds() if 0 < line["round"] <= round]
    counted = {
        client for line in lines if not line.get("failed")
        for client in line.get("clients", {}) if client not in line.get("dropped", {})
    }  # fmt: skip
    return Lineage(
        recipe=experiment.name,
        configuration=hashlib.sha256((run.path / "config.toml").read_bytes()).hexdigest(),
        run=name,
        round=round,
        clients=len(counted),
        privacy=_privacy(experiment, lines),
        trust=trust,
        metrics=_measured(lines, round),
        hedgerow=hedgerow.__version__,
    )


def _privacy(experiment: Experiment, lines: Lines) -> dict[str, float | str]:
    """What the rounds have revealed about a client and about a sample, if the strategy bounds it."""
    strategy, found = experiment.strategy(), dict[str, float | str]()
    spent = [line["epsilon"] for line in lines if line.get("epsilon") is not None]
    if strategy.budget is not None and spent:
        found |= {
            "epsilon": max(spent), "delta": strategy.budget.delta, "adjacency": strategy.budget.adjacency,
        }  # fmt: skip
    local = strategy.local
    if local.sample_noise and lines:
        asked = Counter(name for line in lines for name in {*line["clients"], *line.get("dropped", {})})
        found |= {
            "sample_epsilon": most_spent(local, max(asked.values(), default=0)),
            "sample_delta": local.sample_delta, "sample_adjacency": local.sample_adjacency,
        }  # fmt: skip
    return found


def _measured(lines: Lines, round: int) -> dict[str, float]:
    """The metrics of that round's model only."""
    if not lines or lines[-1]["round"] != round:
        return {}
    by_clients = lines[-1].get("client_evaluation", {}).get("metrics", {})
    found = {f"clients' {name}": each.get("mean", each["weighted_mean"]) for name, each in by_clients.items()}
    found |= lines[-1].get("evaluation", {})
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
