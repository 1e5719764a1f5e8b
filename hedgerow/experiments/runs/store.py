"""A run is a folder.

config.toml         the resolved configuration
run-id              the run's name as devices are told it, if there are devices
metrics.jsonl       one line for each round, append-only
clients.jsonl       one line for each evaluation by clients, on request
travelled.jsonl     bytes of the round that is not saved yet, so that they count after a crash
replies/            the replies that counted in each round, if they are recorded
privacy.jsonl       what a private run has released, written before each release
checkpoints/        the server's state after the last two rounds
ended.json          why the run did not go on, if its sweep stopped it or it failed there
candidates/         models of the last rounds and of the best one, each of which may be promoted
clients/            clients' state from round to round (residuals)
model.safetensors   the final model, once the run is finished
"""

import errno
import json
import logging
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from hedgerow import locks
from hedgerow.experiments.config.arguments import flatten
from hedgerow.experiments.config.errors import ConfigError, StoreError, show
from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.schema import to_toml
from hedgerow.files import naming, write_whole
from hedgerow.server.checkpoint import mark_model, rounds_of_model
from hedgerow.types import RoundResult
from hedgerow.types.evaluation import ClientEvaluation, SummedEvaluation

log = logging.getLogger("hedgerow")

_NO_MATTER = frozenset({"run.workers", "run.keep_models"})
"""Keys of a configuration that affect no result."""


_CLOCK = ("seconds", "elapsed", "joules", "price")

METRICS, CLIENTS, ENDED = "metrics.jsonl", "clients.jsonl", "ended.json"


class RunFolder:
    """One run's folder; its files are listed in the module's docstring.

    Args:
        path: of the folder.

    Raises:
        StoreError: there is no run in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.toml").is_file():
            raise StoreError(
                f"{self.path} is not a run: it has no config.toml; give a folder that 'hedgerow run' made"
            )
        self._unwritten: dict[str, list[str]] = {}

    @classmethod
    def create(cls, path: Path, config: str, *, extend: bool = False) -> "RunFolder":
        """Create the folder, or open an existing one.

        Args:
            path: of the folder.
            config: the resolved configuration, as TOML.
            extend: whether an existing run may get other rounds, not fewer than it
                has done, and other evaluations, which are saved.

        Raises:
            StoreError: the folder holds another run, or something else.
            OSError: it cannot be written.
        """
        path = Path(path)
        file = path / "config.toml"
        if file.is_file():
            cls(path)._take(config, extend=extend)
        elif path.is_dir() and any(p for p in path.iterdir() if not passing(p)):
            raise StoreError(f"{path} is not empty and is not a run; choose another folder")
        else:
            path.mkdir(parents=True, exist_ok=True)
            write_whole(file, config.encode())
        return cls(path)

    def _take(self, config: str, *, extend: bool) -> None:
        """Refuse a configuration that is not the run's own, or save the changes that are allowed."""
        before, now = flatten(self.config), flatten(tomllib.loads(config))
        changed = differences(self.path, config)
        if not changed:
            return
        if not self.begun:  # an earlier start failed, and its configuration was corrected
            write_whole(self.path / "config.toml", config.encode())
            return
        if not (extend and may_change(changed)):
            told = "; ".join(f"{k} was {_shown(before, k)}, is now {_shown(now, k)}" for k in changed)
            more = set(changed) == {"rounds"} and before["rounds"] < now["rounds"]
            hint = f" (for more rounds: hedgerow resume {self.path} rounds={now['rounds']})" if more else ""
            raise StoreError(
                f"{self.path} holds a run with another configuration; choose another folder, or remove it:"
                f" {told}{hint}"
            )
        done = len(self.rounds())
        if now["rounds"] < done:
            raise StoreError(f"{self.path} has {done} rounds done; rounds must be {done} or more to continue")
        if self.model.is_file() and rounds_of_model(self.model) is None:
            mark_model(self.model, before["rounds"])
        write_whole(self.path / "config.toml", config.encode())

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, as read from TOML."""
        return tomllib.loads((self.path / "config.toml").read_text(encoding="utf-8"))

    @property
    def model(self) -> Path:
        """Where the final model is, or will be."""
        return self.path / "model.safetensors"

    @property
    def begun(self) -> bool:
        """Whether anything of a round was saved; a failed start leaves only its configuration."""
        kept = (METRICS, "privacy.jsonl", "checkpoints", "clients", self.model.name)
        return any((self.path / name).exists() for name in kept)

    @property
    def finished(self) -> bool:
        """Whether the run is complete, not just interrupted, and was not extended since."""
        if not self.model.is_file():
            return False
        rounds = rounds_of_model(self.model)
        return rounds is None or rounds == self.config["rounds"]

    @property
    def done(self) -> int:
        """Number of rounds that it has recorded."""
        return max((int(line["round"]) for line in self.rounds()), default=0)

    @property
    def ended(self) -> tuple[str, str]:
        """How it ended before its time, `"failed"` or `"stopped"`, and why; empty if it did not."""
        try:
            found = json.loads((self.path / ENDED).read_bytes())
            return str(found["how"]), str(found["why"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", ""

    def end(self, how: Literal["failed", "stopped"], why: str) -> None:
        """Record that the run does not go on, until it is begun again."""
        write_whole(self.path / ENDED, json.dumps({"how": how, "why": why}).encode())

    def go_on(self) -> None:
        """Forget that it had ended before its time, as it is begun again."""
        (self.path / ENDED).unlink(missing_ok=True)

    def append(self, line: Mapping[str, Any], name: str = METRICS) -> None:
        """Write one round's line.

        A line that cannot be written (a full disk) is kept and written with the next
        one; the run continues.
        """
        waiting = self._unwritten.setdefault(name, [])
        waiting.append(json.dumps(line, allow_nan=False))
        try:
            self._write(name, "".join(text + "\n" for text in waiting))
        except OSError as error:
            log.warning("round %s is not in %s yet: %s; the run continues", line.get("round"), name, error)
        else:
            waiting.clear()

    def rounds(self, name: str = METRICS) -> list[dict[str, Any]]:
        """One entry for each round, in order, from `metrics.jsonl` or a similar file.

        A round that was run again after a crash occurs twice in the file; its last line
        counts. A torn line is ignored.
        """
        file = self.path / name
        if not file.is_file():
            return []
        by_round: dict[int, dict[str, Any]] = {}
        for text in file.read_bytes().split(b"\n"):
            try:
                line = json.loads(text)
                by_round[line["round"]] = line
            except (ValueError, KeyError, TypeError):
                continue
        return [by_round[number] for number in sorted(by_round)]

    def _write(self, name: str, text: str) -> None:
        file = self.path / name
        with naming(file), file.open("ab+", buffering=0) as stream:
            size = stream.seek(0, 2)
            if size:
                stream.seek(size - 1)
                if stream.read(1) != b"\n":  # a line torn by a crash
                    text = "\n" + text
            content = text.encode()
            if stream.write(content) != len(content):
                raise OSError(errno.ENOSPC, "the disk took only a part of the line")


def may_change(keys: Iterable[str]) -> bool:
    """Whether these keys may change when a run is resumed, because they affect no finished round."""
    return all(key in ("rounds", "run.record") or key.startswith(("evaluation.", "server.")) for key in keys)


def differences(folder: Path, config: str) -> list[str]:
    """Dotted keys in which a run's configuration differs from another, and which may affect results."""
    text = (folder / "config.toml").read_text(encoding="utf-8")
    if text == config:
        return []
    try:  # a file from an older Hedgerow may lack keys that now have a default
        before = flatten(tomllib.loads(to_toml(parse(tomllib.loads(text)))))
    except ConfigError:
        before = flatten(tomllib.loads(text))
    now = flatten(tomllib.loads(config))
    keys = [key for key in {**before, **now} if key not in _NO_MATTER]
    return [key for key in keys if before.get(key) != now.get(key)]


def _shown(values: Mapping[str, Any], key: str) -> str:
    return show(values[key]) if key in values else "not given"


def passing(path: Path) -> bool:
    """Whether a file is temporary."""
    return path.name == locks.FILE or path.name.endswith(".partial")


def line_of(result: RoundResult) -> dict[str, Any]:
    """A round's line in `metrics.jsonl`."""
    clients: dict[str, dict[str, float]] = {
        name: {"bytes_up": result.bytes_up.get(name, 0), "bytes_down": result.bytes_down.get(name, 0)}
        for name in result.cohort
    }
    spent: dict[str, Any] = {} if result.epsilon is None else {"epsilon": result.epsilon}
    if result.spent is not None:
        for name, cost in result.spent.clients.items():
            clients.get(name, {}).update(asdict(cost))
        spent["clock"] = {name: getattr(result.spent, name) for name in _CLOCK}
    return {
        "round": result.round,
        "seconds": round(result.seconds, 4),
        "bytes_up": sum(result.bytes_up.values()),
        "bytes_down": sum(result.bytes_down.values()),
        "clients": clients,
        "dropped": dict(result.dropped),
        "failed": result.failed,
        **_float32_down(result),
        **({"set_aside": list(result.set_aside)} if result.set_aside else {}),
        **({"secure": result.secure} if result.secure else {}),
        **({"staleness": dict(result.staleness)} if result.staleness else {}),
        **({"steps_taken": dict(result.steps_taken)} if result.steps_taken else {}),
        "metrics": dict(result.metrics),
        # A loss can overflow, for which JSON only has null.
        "evaluation": {name: v if math.isfinite(v) else None for name, v in result.evaluation.items()},
        **spent,
        **({} if result.client_evaluation is None else {"client_evaluation": told(result.client_evaluation)}),
    }


def _float32_down(result: RoundResult) -> dict[str, int]:
    """The bytes of a round's parameters in float32, for whom a change of them was sent."""
    if not result.state.downlink:
        return {}
    sent = sum(size > 0 for size in result.bytes_down.values())
    return {"float32_down": sent * result.state.model.parameters.nbytes}


def told(found: ClientEvaluation | SummedEvaluation) -> dict[str, Any]:
    """The entry of a client evaluation in `metrics.jsonl`."""
    return {
        **({"failed": found.failed} if found.failed else {}),
        "clients": len(found.clients),
        "dropped": dict(found.dropped),
        "bytes_up": sum(found.bytes_up.values()),
        "bytes_down": sum(found.bytes_down.values()),
        "metrics": {name: asdict(metric) for name, metric in found.summary().items()},
    }


def client_line(round: int, found: ClientEvaluation | SummedEvaluation) -> dict[str, Any]:
    """The line in `clients.jsonl` with each client's evaluation of a round's model."""
    clients = {name: {"examples": c.num_examples, **c.metrics} for name, c in found.each.items()}
    return {"round": round, "clients": clients, "dropped": dict(found.dropped)}
