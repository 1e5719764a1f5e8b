"""A policy as a one-page file for people to read.

`policy.toml` lies in a device's enrolment folder. A rule that it leaves out has
the default, which is that of an enrolled device without the file.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from hedgerow.client.limits import Limits
from hedgerow.client.policy import Policy, PolicyError
from hedgerow.files import who_else_can_write
from hedgerow.wording import did_you_mean

NAME = "policy.toml"

_PAGE: list[tuple[str, dict[str, str]]] = [
    (
        "What the device answers.",
        {
            "masked_only": "sends no update in the clear",
            "evaluate": "evaluates a model on its data; under a mask if the strategy masks",
            "statistics": "reveals loss and number of samples in the clear",
            "most_answers": "updates, and models evaluated, in all runs together",
            "models": "fetches the model that its coordinator has promoted",
        },
    ),
    (
        "Secure aggregation: what a masked round must withstand.",
        {
            "min_clients": "smallest cohort",
            "corrupt": "fraction of a cohort that may collude with the server",
            "failure_bits": "the chance that it does not withstand them is at most 2^-40",
        },
    ),
    (
        "Noise, in units of what one client, or one sample, can change.",
        {
            "client_noise": "added by all clients together, under the mask",
            "sample_noise": "in each step of training",
        },
    ),
    (
        "What the answers of all runs together may reveal.",
        {
            "delta": "well below 1 / clients and 1 / samples",
            "client_epsilon": "about the device, by clients' noise",
            "sample_epsilon": "about each sample, by noise in training",
        },
    ),
    (
        "What a run may name.",
        {
            "recipes": "only these: packaged ones, or files on this device",
            "data": "beside the device's own",
            "strategies": "only these hashes, see: hedgerow policy test",
        },
    ),
]

_LIMITS = {
    "memory": "megabytes that it may allocate, from its next start",
    "threads": "processor cores that it computes on, from its next start",
    "temperature": "degrees Celsius from which it takes no new work",
    "on_mains": "takes new work only while the machine does not run on its battery",
    "unmetered": "takes new work only while NetworkManager says that the link is not metered",
    "quiet": 'hours without new work, in local time, such as "22:00-06:00"',
}


def load_policy(file: Path) -> Policy:
    """Read a policy.

    Raises:
        PolicyError: it cannot be read, holds a key or a value that is not
            allowed, or others can write it.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        policy = _policy(table)
    except (OSError, ValueError) as error:
        raise PolicyError(f"{file} cannot be read: {error}; the device answers nothing") from error
    if why := who_else_can_write(file):
        raise PolicyError(why)
    return policy


def policy_text(policy: Policy) -> str:
    """The text of a policy file: every rule with its value; a rule that sets no limit is a comment.

    >>> print(policy_text(Policy(client_epsilon=8.0)).splitlines()[20])
    client_epsilon = 8.0          # about the device, by clients' noise
    """
    lines = ["# What this device answers. Nothing that a server sends can relax it."]
    for title, rules in _PAGE:
        lines += ["", f"# {title}", *_lines(policy, rules)]
    lines += ["", "# What it gives of its machine, and when; a coordinator learns only that it is not there."]
    lines += ["[limits]", *_lines(policy.limits, _LIMITS)]
    return "\n".join(lines) + "\n"


def _lines(given: Policy | Limits, rules: Mapping[str, str]) -> Iterator[str]:
    for name, about in rules.items():
        value = getattr(given, name)
        shown = f"# {name} = ..." if value is None else _line(name, value)
        yield f"{shown:<28}  # {about}{', no limit' if value is None else ''}"


def _line(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(_line('x', text).removeprefix('x = ') for text in value)}]"
    return tomli_w.dumps({name: value}).rstrip("\n")


def _policy(table: Mapping[str, Any]) -> Policy:
    rules = _known(table, Policy, "rule")
    limits = rules.get("limits", {})
    if not isinstance(limits, dict):
        raise ValueError(f"limits is {limits!r}; it must be a table, [limits]")
    for given, lists in ((rules, ("recipes", "data", "strategies")), (limits, ("quiet",))):
        for key in lists:
            if key in given and not isinstance(given[key], list):
                raise ValueError(f"{key} is {given[key]!r}; it must be a list of strings")
            given.update({key: tuple(given[key])} if key in given else {})
    return Policy(**{**rules, "limits": Limits(**_known(limits, Limits, "limit"))})


def _known(table: Mapping[str, Any], of: type[Policy] | type[Limits], called: str) -> dict[str, Any]:
    """The table, if all of its keys are fields."""
    known = [field.name for field in fields(of)]
    for key in table:
        if key not in known:
            raise ValueError(
                f"there is no {called} {key!r}; there is {', '.join(known)}.{did_you_mean(key, known)}"
            )
    return dict(table)
