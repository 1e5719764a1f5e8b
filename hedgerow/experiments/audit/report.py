"""`hedgerow audit`: the verdict, its numbers and its plot."""

import json as json_format
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from hedgerow.experiments.audit.clients import Audit, audit
from hedgerow.experiments.audit.samples import audit_samples
from hedgerow.experiments.config.names import slug
from hedgerow.experiments.config.recipe import load_sweep
from hedgerow.files import write_whole


def run_audit(source: str, overrides: Sequence[str], most: int, out: Path | None, json: bool) -> bool:
    """Audit each different private strategy and training; print and write the results.

    Returns:
        Whether no check contradicts any ledger.

    Raises:
        ValueError: none of them is private.
    """
    cells = load_sweep(Path(source) if Path(source).is_dir() else source, overrides).cells
    found, passed = {}, True
    for cell in cells:
        experiment = cell.experiment
        strategy, num_rounds = experiment.strategy(), max(2, min(most, experiment.rounds))
        audits = {}
        if strategy.private and experiment.label not in found:
            audits[experiment.label] = partial(audit, strategy, num_rounds=num_rounds, seed=experiment.seed)
        if strategy.local.sample_noise and (samples := f"{experiment.label}, samples") not in found:
            audits[samples] = partial(
                audit_samples, strategy.local, num_rounds=min(4, num_rounds), seed=experiment.seed
            )
        for label, run in audits.items():
            heard = run()
            folder = (out or Path("runs") / f"audit-{slug(experiment.name)}") / (
                cell.folder if len(cells) > 1 else ""
            )
            folder.mkdir(parents=True, exist_ok=True)
            kind = "audit-samples" if label != experiment.label else "audit"
            found[label] = {
                "epsilon": heard.epsilon, "delta": heard.delta, "bound": heard.bound,
                "estimate": heard.estimate, "passed": heard.passed,
                "findings": [asdict(finding) for finding in heard.findings],
            }  # fmt: skip
            write_whole(folder / f"{kind}.json", json_format.dumps(found[label], indent=2).encode())
            draw(heard, folder / f"{kind}.png")
            passed = passed and heard.passed
            if not json:
                for line in (f"{label}:", *described(heard), f"wrote {folder / kind}.png"):
                    print(line, flush=True)
    if not found:
        raise ValueError(f"no strategy of {source} is private; audit one such as dp_fedavg")
    if json:
        sys.stdout.write(json_format.dumps(found, indent=2) + "\n")
    return passed


def described(audit: Audit) -> Iterator[str]:
    """The verdict for people, line by line."""
    for finding in audit.findings:
        yield f"{'ok  ' if finding.holds else 'FAIL'} {finding.name}: {finding.text}"
    if audit.passed:
        told = f"epsilon {audit.epsilon:.2f}, delta {audit.delta:g}"
        yield f"Nothing speaks against {told}; an audit is no proof."
    else:
        yield f"The strategy is not as private as its ledger says (epsilon {audit.epsilon:.2f})."


def draw(audit: Audit, file: Path) -> None:
    """Draw the scores of canaries and of directions that nobody sent, as a PNG.

    Raises:
        ImportError: matplotlib is missing; with the command that installs it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('a plot needs matplotlib; install with: pip install "hedgerow[report]"') from error
    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    edges = np.histogram_bin_edges(np.concatenate([audit.sent, audit.silent]), 40).tolist()
    for scores, label, colour in (
        (audit.silent, "nobody sent it", "#7f7f7f"),
        (audit.sent, "sent by a client", "#d1495b"),
    ):
        axes.hist(scores, edges, density=True, alpha=0.6, label=label, color=colour)
    axes.set_xlabel("score of a direction over all rounds, in standard deviations of the noise")
    axes.set_ylabel("density")
    verdict = "nothing speaks against it" if audit.passed else "NOT as private as that"
    heard = f"canaries: {audit.bound:.2f} or more, about {audit.estimate:.2f}"
    axes.set_title(f"epsilon {audit.epsilon:.2f} at delta {audit.delta:g}; {heard}; {verdict}", fontsize=9)
    axes.legend(frameon=False)
    figure.savefig(file)
