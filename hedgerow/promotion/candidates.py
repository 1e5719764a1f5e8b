"""The models of a run's last rounds, and its best one: each may be promoted.

They are in the run's folder:

    candidates/round-000005-0123456789abcdef.safetensors   what the round changed; 16 digits of its hash
    candidates/frozen-....safetensors                      what no round changes, once

A round's file is created by one rename, and its name has the hash of its contents, so damage shows.
"""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from hedgerow.files import write_whole
from hedgerow.promotion.tensors import Arrays, contiguous, frozen_names, named_tensors
from hedgerow.types import Layout, Model, RoundResult
from hedgerow.types.evaluation import LESS_IS_BETTER

log = logging.getLogger("hedgerow")

FOLDER = "candidates"
KEPT = 5
"""Number of rounds whose models are kept by default (`[run] keep_models`)."""

_HEADER = "hedgerow"
_NAME = re.compile(r"round-(\d{6,})-([0-9a-f]{16})\.safetensors")
_SCORES = ("accuracy", "loss")


class CandidateError(ValueError):
    """A candidate no longer exists, or does not match its name."""


@dataclass(frozen=True)
class Candidate:
    """The model of one round.

    Attributes:
        round: that made it.
        file: what the round changed.
        metric: by which it was measured; empty if it was not.
        value: of that metric.
    """

    round: int
    file: Path
    metric: str = ""
    value: float = 0.0

    def better_than(self, other: "Candidate") -> bool:
        """Whether both were measured by the same metric, and this one is better."""
        if self.metric != other.metric:
            return False
        return self.value < other.value if self.metric in LESS_IS_BETTER else self.value > other.value


def measured(result: RoundResult) -> dict[str, float]:
    """The metrics of a round's model: the server's, or else means over clients."""
    if result.evaluation or result.client_evaluation is None:
        return dict(result.evaluation)
    return result.client_evaluation.means()


@final
class Keeper:
    """Keeps the models of a run, in its folder.

    Args:
        run: its folder.
        layout: of the whole model.
        most: number of last rounds to keep; the best measured one is also kept.
    """

    def __init__(self, run: Path, layout: Layout, most: int) -> None:
        self._folder, self._layout, self._most = run / FOLDER, layout, most
        self._never = frozen_names(layout)
        self._frozen: str | None = None
        for litter in self._folder.glob("*.partial"):  # of a write that was killed
            litter.unlink(missing_ok=True)

    def keep(self, model: Model, round: int, metrics: Mapping[str, float]) -> None:
        """Keep the model of a round; raises `OSError` if it cannot be written."""
        if not self._most:
            return
        self._folder.mkdir(exist_ok=True)
        arrays = contiguous(named_tensors(model, self._layout))
        header: dict[str, Any] = {"round": round, "frozen": self._kept_once(arrays)}
        header |= next(({"metric": m, "value": metrics[m]} for m in _SCORES if m in metrics), {})
        moving = {name: values for name, values in arrays.items() if name not in self._never}
        content = save(moving, {_HEADER: json.dumps(header)})
        name = f"round-{round:06d}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        # A power cut may damage it; then it does not match its name, and is not a candidate.
        write_whole(self._folder / name, content, durable=False)
        self._prune(round, name)

    def _kept_once(self, arrays: Arrays) -> str:
        """Save what no round changes, once, and return its hash; empty if there is nothing."""
        if self._frozen is None:
            still = {name: arrays[name] for name in sorted(self._never)}
            content = save(still) if still else b""
            self._frozen = hashlib.sha256(content).hexdigest() if still else ""
            if still and not _frozen_file(self._folder, self._frozen).exists():
                write_whole(_frozen_file(self._folder, self._frozen), content)
        return self._frozen

    def _prune(self, round: int, name: str) -> None:
        found = candidates(self._folder.parent)
        kept = {each.file for each in found[-self._most :]}
        if (best := best_of(found)) is not None:
            kept.add(best.file)
        for each in found:
            again = each.round == round and each.file.name != name  # from before a crash
            if again or each.file not in kept:
                each.file.unlink(missing_ok=True)


def candidates(run: Path) -> list[Candidate]:
    """The candidates of a run, by round; one whose header cannot be read is left out."""
    found = []
    for file in sorted((run / FOLDER).glob("round-*.safetensors")):
        if not _NAME.fullmatch(file.name):
            continue
        try:
            with safe_open(file, framework="numpy") as stored:
                header = json.loads(stored.metadata()[_HEADER])
            found.append(
                Candidate(
                    int(header["round"]), file, str(header.get("metric", "")), float(header.get("value", 0))
                )
            )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is not a candidate: %s", file, error)
    return sorted(found, key=lambda each: each.round)


def best_of(found: list[Candidate]) -> Candidate | None:
    """The best measured candidate, the earliest of equals; `None` if none was measured."""
    best: Candidate | None = None
    for each in found:
        if each.metric and (best is None or each.better_than(best)):
            best = each
    return best


def content_of(candidate: Candidate) -> bytes:
    """The whole model as safetensors, without metadata of ours: the same bytes for the same model.

    Raises:
        CandidateError: a file is missing, or does not match its name.
    """
    try:
        content = candidate.file.read_bytes()
        name = _NAME.fullmatch(candidate.file.name)
        if name is None or not hashlib.sha256(content).hexdigest().startswith(name[2]):
            raise CandidateError(f"{candidate.file} does not match its name; take another round")
        arrays = load(content)
        with safe_open(candidate.file, framework="numpy") as stored:
            frozen = json.loads(stored.metadata()[_HEADER])["frozen"]
        if frozen:
            still = _frozen_file(candidate.file.parent, frozen).read_bytes()
            if hashlib.sha256(still).hexdigest() != frozen:
                raise CandidateError(f"{_frozen_file(candidate.file.parent, frozen)} has changed")
            arrays |= load(still)
    except (SafetensorError, OSError, KeyError) as error:
        raise CandidateError(
            f"the model of round {candidate.round} cannot be read: {error}; take another"
        ) from error
    return save(arrays)


def _frozen_file(folder: Path, named: str) -> Path:
    return folder / f"frozen-{named}.safetensors"
