"""The fingerprint of a run, so that it is not resumed with another strategy, model or data.

Next to the run's checkpoints, `fingerprint.json` holds every value of its strategy,
and digests of what has no short name (a model, data). If one of them has changed,
the run is refused and the change is named. Values that only one side has are not
compared.
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
    """A run that would be resumed with another strategy, task or data than it was started with."""


@dataclass(frozen=True)
class Contents:
    """What determines a run's results in addition to its strategy.

    Attributes:
        code: digests of code, comparable only within one version of Python and of the libraries.
        data: digests of data.
        versions: of these libraries, such as `{"torch": "2.13.0"}`.
        run: settings of the execution that may affect the last bits, such as `{"device": "cpu"}`.
    """

    code: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    run: Mapping[str, str | None] = field(default_factory=dict)


def check_fingerprint(folder: Path, strategy: Strategy, contents: Contents, *, begun: bool) -> None:
    """Compare with the fingerprint of the run in a folder, or write it if there is none.

    Args:
        folder: of the run.
        strategy: of the run.
        contents: what else determines its results.
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
                "%s was started by a Hedgerow version that kept no fingerprint: it is not checked whether"
                " strategy, task and data are still the same",
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
        log.info("Python or its libraries have changed: it is not checked whether the code has")
    if changed:
        raise AnotherRun(
            f"{folder} was started differently: {'; '.join(changed)}. Continue as it was started, or choose"
            " another folder (with initial, a new run can start from this one's model)"
        )


def _digests_that_differ(before: Mapping[str, Any], now: Mapping[str, Any], part: str) -> list[str]:
    return [
        f"the {name} changed"
        for name, old in before[part].items()
        if name in now[part] and now[part][name] != old
    ]


def _values(strategy: Strategy) -> dict[str, Any]:
    """Every setting of a strategy, by name."""
    parts = {
        "strategy": strategy.name,
        "sampling": strategy.sampling.name,
        "pipeline": strategy.pipeline.name,
        "downlink": strategy.downlink.name,
        "aggregate": strategy.aggregate.name,
        "server_update": strategy.server_update.name,
        "quorum": strategy.quorum,
        "max_weight": strategy.max_weight,
        "max_norm": strategy.max_norm,
        "norm_bound": strategy.norm_bound,
        "personal": list(strategy.personal),
        "streams": [stream.name for stream in strategy.streams],
        "budget": None if strategy.budget is None else str(strategy.budget),
        "arrivals": None if strategy.arrivals is None else strategy.arrivals.name,
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
            f"{file} cannot be read ({error}); remove it to continue without checking for changes"
        ) from None
