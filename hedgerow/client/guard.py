"""What stands between a device's data and whoever asks: its policy, and what it has told before.

A device keeps three files beside its policy, whatever the run, the client's
name or the strategy, and never starts them anew:

    answers.jsonl           a line for each answer that left it
    privacy-clients.jsonl   what its updates have told of it
    privacy-samples.jsonl   what they have told of each of its samples
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, final

from hedgerow.client import account, policy_file
from hedgerow.client.kinds import OPENINGS, UPDATES
from hedgerow.client.policy import AgainstPolicy, Policy, PolicyError, client_event
from hedgerow.files import append_line, locked, read_lines, who_else_can_write
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.ledger import Ledger
from hedgerow.sealed import check, seal
from hedgerow.secure.errors import Refused
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import PayloadError

log = logging.getLogger("hedgerow")

_LONGEST = 60  # characters of a round's name, which the server gives
_MOVED = {"most-rounds": "most_answers", "account": "sample_epsilon"}


@final
@dataclass(frozen=True)
class Guard:
    """A device's policy, and where it keeps what it has told.

    Attributes:
        policy: its rules.
        folder: for the files above; `None` for a device that has neither an
            enrolment nor a policy, which writes its answers to the log alone.
        data: the device's own data set: a name, or a path; empty where its app
            is made with the data.
        data_options: of the loader of a path, such as `label`.
    """

    policy: Policy
    folder: Path | None = None
    data: str = ""
    data_options: tuple[tuple[str, Any], ...] = ()

    @property
    def discreet(self) -> bool:
        """Whether errors stay on the device, whatever the strategy."""
        return self.folder is not None or bool(self.data)

    @property
    def samples_file(self) -> Path | None:
        """The account of the device's samples."""
        return None if self.folder is None else self.folder / "privacy-samples.jsonl"

    @property
    def answers(self) -> int:
        """Updates that have left the device, and models that it has measured.

        Raises:
            PolicyError: the file that tells cannot be read.
        """
        if self.folder is None:
            return 0
        file = self.folder / "answers.jsonl"
        try:
            return sum(check(json.loads(line))["kind"] in UPDATES for line in read_lines(file))
        except (OSError, ValueError, KeyError, TypeError) as error:
            # To go on without it would be to forget what was told.
            raise PolicyError(f"{file} cannot be read: {error}; restore it from a copy") from error

    @contextmanager
    def alone(self, kind: str) -> Iterator[None]:
        """One update at a time: two that are checked at once could pass a limit together."""
        if self.folder is None or kind not in UPDATES:
            yield
            return
        with locked(self.folder / "answers.lock"):
            yield

    def check(self, kind: str, strategy: Strategy) -> None:
        """Refuse a message that breaks a rule, or whose answer would pass a limit.

        Raises:
            AgainstPolicy: with the rules.
            LedgerError, PolicyError: what was told before cannot be read.
        """
        self.policy.check(kind, strategy)
        if kind not in (*UPDATES, *OPENINGS):
            return
        most = self.policy.most_answers
        if most is not None and self.answers >= most:
            raise AgainstPolicy(
                f"rule most_answers: the device has answered {most} times, and answers no more"
            )
        for name, ledger, event, times in self._accounts(strategy):
            if ledger.budget.epsilon is not None and not ledger.allows(event, times):
                raise AgainstPolicy(f"rule {name}: one more update would pass the device's budget")

    def record(self, kind: str, strategy: Strategy, *, run: int, round: str, size: int) -> None:
        """Write down an answer, before it leaves.

        Raises:
            OSError: it cannot be written; then nothing may leave.
        """
        if self.folder is not None and kind in UPDATES:
            for name, ledger, event, times in self._accounts(strategy):
                if name == "client_epsilon":  # that of samples is written where they are trained on
                    ledger.write(
                        ledger.releases + 1, event, os.urandom(16).hex(), noise="system", times=times
                    )
        self._list(kind, run, round, size)

    @contextmanager
    def errors_counted(self, kind: str, *, run: int, round: str) -> Iterator[None]:
        """An error in place of an update is an answer: that it came may tell of the data.

        What is refused, or cannot be read, has not come as far as the data.
        """
        try:
            yield
        except (Refused, PayloadError):
            raise
        except Exception:
            if kind in UPDATES:
                self._list(kind, run, round, 0)
            raise

    def _list(self, kind: str, run: int, round: str, size: int) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "run": str(run), "round": round[:_LONGEST], "kind": kind, "bytes": size,
        }  # fmt: skip
        log.info("answered %s", line)
        if self.folder is not None:
            append_line(self.folder / "answers.jsonl", json.dumps(seal(line)))

    def ledgers(self) -> dict[str, Ledger]:
        """The two accounts, by the rule that limits each.

        Raises:
            LedgerError: one cannot be read.
        """
        if self.folder is None:
            return {}
        policy, delta = self.policy, self.policy.delta
        return {
            "client_epsilon": Ledger(
                Budget(delta, policy.client_epsilon), self.folder / "privacy-clients.jsonl"
            ),
            "sample_epsilon": Ledger(Budget(delta, policy.sample_epsilon), self.samples_file),
        }

    def _accounts(self, strategy: Strategy) -> Iterator[tuple[str, Ledger, Any, int]]:
        """What one update costs each account: rule, account, event and how often it happens."""
        ledgers, local = self.ledgers(), strategy.local
        if not ledgers:
            return
        if (event := client_event(strategy)) is not None:
            yield "client_epsilon", ledgers["client_epsilon"], event, 1
        if local.sample_noise:
            yield "sample_epsilon", ledgers["sample_epsilon"], account.event(local), local.steps(1)


Guarding: TypeAlias = Callable[[Mapping[str, Any]], Guard]
"""`node configuration -> guard`."""


def node_guard(node_config: Mapping[str, Any]) -> Guard:
    """The guard of a device, from its own configuration.

    `enrolment` is a folder, in which `policy.toml` may lie; `policy` is a file
    in any other place; `data` is the device's own data, and `data-KEY` are
    options of its loader.

    Raises:
        PolicyError: the policy cannot be read, others can write to it or to
            the folder, or a key was moved to it.
    """
    for key, rule in _MOVED.items():
        if key in node_config:
            raise PolicyError(
                f"the node configuration has {key!r}, which is a rule of the device's policy now: write"
                f" {rule} = ... in {policy_file.NAME} (see: hedgerow policy show)"
            )
    enrolment, named = node_config.get("enrolment"), node_config.get("policy")
    file = Path(str(named)) if named else Path(str(enrolment or "")) / policy_file.NAME
    folder = Path(str(enrolment)) if enrolment else (file.parent if named else None)
    if folder is not None and folder.exists() and (why := who_else_can_write(folder)):
        raise PolicyError(why)
    if named or (folder is not None and os.path.lexists(file)):  # a link to nothing is a policy that is lost
        policy = policy_file.load_policy(file)
    else:
        policy = Policy.unenrolled() if folder is None else Policy()
    options = {str(k).removeprefix("data-"): v for k, v in node_config.items() if str(k).startswith("data-")}
    return Guard(policy, folder, str(node_config.get("data", "")), tuple(sorted(options.items())))
