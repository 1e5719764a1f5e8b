"""What a run was begun with, so that it does not go on with something else.

Beside the run's checkpoints lies `fingerprint.json`: what its strategy is, value
by value, and digests of what has no short name (a model, data). A run is refused
by name where one of them has changed. What only one of the two knows is not compared.
"""

import json
import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hedgerow.files import write_whole
from hedgerow.sealed import check, seal
from hedgerow.strategies.strategy import Strategy

FILE = "fingerprint.json"

log = logging.getLogger("hedgerow")


class AnotherRun(ValueError):
    """A run that would go on with another strategy, task or data than it was begun with."""


@dataclass(frozen=True)
class Contents:
    """What a run computes with, beside its strategy.

    Attributes:
        code: digests of what is code, comparable in one version of Python and of the libraries only.
        data: digests of data.
        versions: of those libraries, such as `{"torch": "2.13.0"}`.
        run: what of the way it is executed may show in its last bits, such as `{"device": "cpu"}`.
    """

    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, str | None] = field(default_factory=dict)


def check_fingerprint(folder: Path, strategy: Strategy, contents: Contents, *, begun: bool) -> None:
    """Compare with what the run in a folder was begun with; write it down where nothing is.

    Args:
        folder: of the run.
        strategy: of the run.
        contents: what else decides its results.
        begun: whether the run has a checkpoint already.

    Raises:
        AnotherRun: something has changed; the error says what.
        OSError: it cannot be written.
    """
    now = {
        "strategy": _values(strategy),
        "run": dict(contents.run),
        "data": dict(contents.data),
        "code": dict(contents.code),
        "versions": {"python": ".".join(platform.python_version_tuple()[:2]), **contents.versions},
    }
    file = folder / FILE
    before = _read(file)
    if before is None:
        if begun:
            log.warning(
                "%s was begun by a Hedgerow that kept no fingerprint: whether strategy, task and data are"
                " still the same is not checked",
                folder,
            )
        write_whole(file, json.dumps(seal(now), indent=1).encode())
        return
    changed = [
        f"the {name.replace('_', ' ')} was {_show(old)}, is now {_show(now[part][name])}"
        for part in ("strategy", "run")
        for name, old in before.get(part, {}).items()
        if name in now[part] and now[part][name] != old
    ]
    changed += _digests_that_differ(before, now, "data")
    if before["versions"] == now["versions"]:
        changed += _digests_that_differ(before, now, "code")
    else:
        log.info("Python or its libraries have changed: whether the code has is not checked")
    if changed:
        raise AnotherRun(
            f"{folder} was begun otherwise: {'; '.join(changed)}. Go on as it was begun, or choose another"
            " folder (with initial, a new run can start from this one's model)"
        )


def _digests_that_differ(before: Mapping[str, Any], now: Mapping[str, Any], part: str) -> list[str]:
    return [
        f"the {name} changed"
        for name, old in before[part].items()
        if name in now[part] and now[part][name] != old
    ]


def _values(strategy: Strategy) -> dict[str, Any]:
    """Every choice of a strategy, by name."""
    parts = {
        "strategy": strategy.name,
        "sampling": strategy.sampling.name,
        "pipeline": strategy.pipeline.name,
        "aggregate": strategy.aggregate.name,
        "server_update": strategy.server_update.name,
        "quorum": strategy.quorum,
        "max_weight": strategy.max_weight,
        "max_norm": strategy.max_norm,
        "norm_bound": strategy.norm_bound,
        "personal": list(strategy.personal),
        "streams": [stream.name for stream in strategy.streams],
        "budget": None if strategy.budget is None else str(strategy.budget),
    }
    return parts | asdict(strategy.local)


def _show(value: Any) -> str:
    return "none" if value is None else str(value)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = check(json.loads(file.read_bytes()))
        if isinstance(found, dict) and all(
            isinstance(found.get(part), dict) for part in ("strategy", "data", "code", "versions")
        ):
            return found
        raise ValueError("it lacks a part")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise AnotherRun(
            f"{file} cannot be read ({error}); remove it to go on without a check that nothing has changed"
        ) from None
