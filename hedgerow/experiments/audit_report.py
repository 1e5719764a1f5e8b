"""`hedgerow audit`: the verdict, its numbers and its picture."""

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from hedgerow.experiments.audit import audit, described, draw
from hedgerow.experiments.cli.terminal import say
from hedgerow.experiments.config.expand import slug
from hedgerow.experiments.config.recipe import load_sweep
from hedgerow.files import write_whole


def run_audit(source: str, overrides: Sequence[str], most: int, out: Path | None, json: bool) -> bool:
    """Audit each different private strategy of a run, a recipe or a file; print and write what was heard.

    Returns:
        Whether nothing speaks against any ledger.

    Raises:
        ValueError: none of the strategies is private.
    """
    cells = load_sweep(Path(source) if Path(source).is_dir() else source, overrides).cells
    found, passed = {}, True
    for cell in cells:
        experiment = cell.experiment
        if experiment.label in found or (not experiment.strategy().private and len(cells) > 1):
            continue
        heard = audit(
            experiment.strategy(), num_rounds=max(2, min(most, experiment.rounds)), seed=experiment.seed
        )
        folder = (out or Path("runs") / f"audit-{slug(experiment.name)}") / (
            cell.folder if len(cells) > 1 else ""
        )
        folder.mkdir(parents=True, exist_ok=True)
        found[experiment.label] = {
            "epsilon": heard.epsilon, "delta": heard.delta, "empirical": heard.empirical,
            "passed": heard.passed, "findings": [asdict(finding) for finding in heard.findings],
        }  # fmt: skip
        text = json_format.dumps(found[experiment.label], indent=2)
        write_whole(folder / "audit.json", text.encode())
        draw(heard, folder / "audit.png")
        passed = passed and heard.passed
        if not json:
            for line in (f"{experiment.label}:", *described(heard), f"wrote {folder / 'audit.png'}"):
                say(line)
    if not found:
        raise ValueError(f"no strategy of {source} is private; audit one such as dp_fedavg")
    if json:
        sys.stdout.write(json_format.dumps(found, indent=2) + "\n")
    return passed
