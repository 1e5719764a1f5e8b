"""A strategy as a description, and back: what a device needs to know in order to take part.

    {"preset": "fedavg", "options": {}, "pipeline": "quantize(8)", "aggregate": "mean()",
     "sampling": "uniform(10)", "local": {"epochs": 2}, "quorum": 0.5, ...}

`options` are the preset's own arguments, `pipeline`, `downlink`, `aggregate` and `sampling` calls of
registered parts, `local` the fields of `LocalTraining`; the others are those of `Strategy`. Everything
except the preset may be left out, and is then the preset's default.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from hedgerow.strategies.pipeline.parse import parse_aggregate, parse_pipeline, parse_sampling
from hedgerow.strategies.presets import PRESETS
from hedgerow.strategies.strategy import Strategy
from hedgerow.types import LocalTraining
from hedgerow.wording import did_you_mean

Description = dict[str, Any]
"""A table of JSON values."""

_TEXTS = {
    "pipeline": parse_pipeline, "downlink": parse_pipeline, "aggregate": parse_aggregate,
    "sampling": parse_sampling,
}  # fmt: skip
_PLAIN = ("weighted", "quorum", "max_weight", "max_norm", "norm_bound", "personal")
_KEYS = ("preset", "options", "local", *_TEXTS, *_PLAIN)
_LOCAL = tuple(field.name for field in fields(LocalTraining))


def build(description: Mapping[str, Any]) -> Strategy:
    """Build the strategy that a description describes.

    Raises:
        ValueError: it does not describe a strategy, or its parts do not fit together; the error says
            what was given and what is allowed.

    >>> build({"preset": "fedavg", "pipeline": "quantize(8)", "sampling": "uniform(5)"}).sampling.name
    'uniform(5)'
    """
    _check_keys("the description", description, _KEYS)
    preset = PRESETS.get(str(description.get("preset", "")))
    options, local = _table(description, "options"), _table(description, "local")
    _check_keys("local", local, _LOCAL)
    parts: Description = {key: description[key] for key in _PLAIN if key in description}
    for key, parse in _TEXTS.items():
        if key in description:
            if not isinstance(description[key], str):
                raise ValueError(f"{key} is {description[key]!r}; it must be a text such as 'mean()'")
            parts[key] = parse(description[key])
    if local:
        parts["local"] = LocalTraining(**local)
    if twice := sorted(set(options) & set(_KEYS)):
        raise ValueError(f"options has {twice}, which belong next to it")
    try:
        strategy: Strategy = preset(**options, **parts)
    except TypeError as error:
        raise ValueError(f"{description['preset']} cannot be built: {error}") from None
    return strategy


def describe(strategy: Strategy) -> Description:
    """Every argument of a strategy made by a preset; `build` returns the same strategy.

    Raises:
        ValueError: it was not made by a preset, or something that the preset decides was changed since.

    >>> from hedgerow.strategies import fedavg
    >>> describe(fedavg())["aggregate"]
    'mean()'
    """
    origin = strategy.origin
    if origin is None:
        raise ValueError(
            f"{strategy.name} was put together by hand, and cannot be described; make it with a preset, or"
            " register one that is `described`"
        )
    found = {
        "preset": origin.preset,
        "options": dict(origin.options),
        "local": asdict(strategy.local),
        "pipeline": origin.pipeline,
        "aggregate": strategy.aggregate.name,
        "sampling": strategy.sampling.name,
        "quorum": strategy.quorum,
        "max_weight": strategy.max_weight,
        "max_norm": strategy.max_norm,
    } | ({} if origin.weighted is None else {"weighted": origin.weighted})
    if strategy.norm_bound != Strategy.norm_bound:  # only the server's: no device needs to know it
        found["norm_bound"] = strategy.norm_bound
    if strategy.downlink.kinds:  # a device that does not know the key refuses it by name
        found["downlink"] = strategy.downlink.name
    if build(found).personal != strategy.personal:  # otherwise they are the preset's own
        found["personal"] = list(strategy.personal)
    if changed := _differences(build(found), strategy):
        raise ValueError(
            f"{strategy.name} has another {changed[0]} than the preset {origin.preset!r} makes with these"
            " arguments, and cannot be described; pass what it should have to the preset"
        )
    return found


def _differences(one: Strategy, other: Strategy) -> list[str]:
    """The parts in which two strategies differ."""
    parts = (
        "name", "sampling", "local", "pipeline", "downlink", "aggregate", "server_update", "quorum",
        "max_weight", "max_norm", "norm_bound", "streams", "budget", "personal", "arrivals",
    )  # fmt: skip
    return [part for part in parts if _text(getattr(one, part)) != _text(getattr(other, part))]


def _text(part: Any) -> Any:
    """The text of a part, for comparing parts that contain functions."""
    if isinstance(part, tuple):
        return tuple(_text(each) for each in part)
    return getattr(part, "name", part)


def _table(description: Mapping[str, Any], key: str) -> Description:
    value = description.get(key, {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is {value!r}; it must be a table of arguments by name")
    return dict(value)


def _check_keys(what: str, given: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    for key in given:
        if key not in allowed:
            near = did_you_mean(str(key), allowed)
            raise ValueError(f"{what} has the key {key!r}; allowed are {', '.join(allowed)}.{near}")
