"""A policy as a one-page file for people to read.

`policy.toml` lies in a device's enrolment folder. A rule that it leaves out has
the default, which is that of an enrolled device without the file.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import tomli_w

from hedgerow.client.graph_rules import GraphRules
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
    (
        "Graphs, by which it trains without torch: code of a kind. None is taken that is not listed.",
        {
            "graphs.hashes": "these, see: hedgerow export",
            "graphs.keys": "and those that are signed by one of these",
            "graphs.megabytes": "memory that a run of one may take",
            "graphs.in_the_clear": 'without mask or noise: a graph could return the data as "parameters"',
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
        value = attrgetter(name)(given)
        shown = f"# {name} = ..." if value is None else _line(name, value)
        yield f"{shown:<28}  # {about}{', no limit' if value is None else ''}"


def _line(name: str, value: Any) -> str:
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(_line('x', text).removeprefix('x = ') for text in value)}]"
    return f"{name} = {tomli_w.dumps({'x': value}).removeprefix('x = ')}".rstrip("\n")


def _policy(table: Mapping[str, Any]) -> Policy:
    rules = _rules(table, Policy, "rule")
    if "graphs" in rules:
        rules["graphs"] = GraphRules(**_rules(_table(rules, "graphs"), GraphRules, "rule", "graphs."))
    if "limits" in rules:
        rules["limits"] = Limits(**_rules(_table(rules, "limits"), Limits, "limit"))
    return Policy(**rules)


def _table(rules: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(rules[name], Mapping):
        raise ValueError(f"{name} is {rules[name]!r}; it must be a table, [{name}]")
    found: Mapping[str, Any] = rules[name]
    return found


def _rules(
    table: Mapping[str, Any],
    kind: type[Policy] | type[GraphRules] | type[Limits],
    called: str,
    prefix: str = "",
) -> dict[str, Any]:
    """The rules of a table, with its lists as tuples; raises `ValueError` for one that does not exist."""
    known, rules = {field.name: field.type for field in fields(kind)}, dict(table)
    for key, value in table.items():
        if key not in known:
            there = ", ".join(prefix + name for name in known)
            raise ValueError(
                f"there is no {called} {prefix + key!r}; there is {there}.{did_you_mean(key, known)}"
            )
        if "tuple" in str(known[key]):
            if not isinstance(value, list):
                raise ValueError(f"{prefix}{key} is {value!r}; it must be a list of strings")
            rules[key] = tuple(value)
    return rules
