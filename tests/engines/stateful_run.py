"""A run that carries much along: what it ends with depends on all that clients and server keep."""

from pathlib import Path

from hedgerow.experiments.runs.store import RunFolder

ROOT = Path(__file__).parents[2]
CLIENTS = 3
RECIPE = "fashion-mnist"
# Two of three clients are drawn in each round, so that one is drawn again, and each carries a residual
# and a control variate along. All of them measure each round's model on what they hold out.
OVERRIDES = [
    "rounds=2",
    f"data.partition.clients={CLIENTS}",
    "strategy.name=scaffold",
    "strategy.clients_per_round=2",
    "strategy.pipeline=error_feedback(top_k(0.05), quantize(8))",
    "local.epochs=1",
    "data.held_out=0.1",
    "evaluation.clients=all",
]


def run_config(
    out: Path, recipe: str = RECIPE, overrides: list[str] = OVERRIDES, **paths: Path
) -> dict[str, str]:
    """For this repository as a Flower app."""
    texts = {name: str(path) for name, path in {"out": out, **paths}.items()}
    return {"recipe": recipe, "overrides": " ".join(f"'{text}'" for text in overrides), **texts}


def figures(run: RunFolder) -> list[dict]:
    """All that a run has measured, but for times."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.rounds()]
