"""Checks the keys of a configuration table against the arguments of what it configures.

A table such as `[data.partition]` is a call: its keys are the arguments of a
constructor. The signature gives the keys, their types and their defaults, so
nothing is defined twice. pydantic checks the types and collects every mistake;
this file turns its findings into our words.
"""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from hedgerow.experiments.config.errors import MISSING, Mistake
from hedgerow.wording import did_you_mean

Table = dict[str, Any]

_STRICT = ConfigDict(
    extra="forbid", strict=True, frozen=True, allow_inf_nan=False, arbitrary_types_allowed=True
)

# What pydantic finds -> what is allowed, in words.
_ALLOWED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "path_type": "a path in quotes",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "dataclass_type": "a table",
    "none_required": "left out",
}


UNKNOWN = "there is no such key"

EXAMPLES = {
    "rounds": "rounds = 30",
    "data": '[data] with name = "fashion-mnist"',
    "data.name": 'name = "fashion-mnist"',
    "data.partition": '[data.partition] with name = "iid" and clients = 10',
    "data.partition.name": 'name = "iid"',
    "model": '[model] with name = "cnn-small"',
    "model.name": 'name = "cnn-small"',
    "attack.name": 'name = "sign_flip"',
    "attack.clients": "clients = 0.2",
}
"""Examples for keys that are missing."""


def arguments(
    constructor: Callable[..., Any],
    given: Mapping[str, Any],
    path: str,
    *,
    inner: Collection[str] = (),
    beside: Collection[str] = (),
) -> tuple[Table, list[Mistake]]:
    """Check keys against a constructor's signature, and fill in its defaults.

    Args:
        constructor: a function or a class; a `**` argument takes any key.
        given: the table, without its `name`.
        path: of the table, for the mistakes.
        inner: arguments that the user cannot give.
        beside: other keys that the table may have, for the mistakes.

    Returns:
        The table with every default written out (except `None`, which TOML cannot
        express), and all mistakes; the table is valid only if there are none.
    """
    model = _model(constructor, tuple(inner))
    if model is None:
        return dict(given), []
    try:
        filled = model.model_validate_json(as_json(given))
    except ValidationError as error:
        return dict(given), translate(error, given, path, model, beside)
    plain = filled.model_dump(mode="json", exclude_none=True)
    return {key: value for key, value in plain.items() if key in given or key in model.model_fields}, []


def python_values(
    constructor: Callable[..., Any], given: Mapping[str, Any], *, inner: Collection[str] = ()
) -> Table:
    """Convert arguments to the constructor's types, such as a list to a tuple.

    Some may be missing; those that are given must have passed `arguments`.
    """
    model = _model(constructor, tuple(inner), partial=True)
    if model is None:
        return dict(given)
    filled = model.model_validate_json(as_json(given))
    return {key: getattr(filled, key) for key in given}


def refused(
    constructor: Callable[..., Any],
    given: Mapping[str, Any],
    path: str,
    *,
    inner: Collection[str] = (),
    wrong: Collection[str] = (),
) -> list[Mistake]:
    """Mistakes that the constructor itself finds in values of the right type.

    Each key is tried without the other optional ones, so that every value out of
    range is reported, not only the first; mistakes in combinations come after that.
    `wrong` are keys known to be wrong, which are not tried.
    """
    fit = {key: value for key, value in given.items() if key not in wrong}
    needed = _required(constructor, inner)
    # 1 stands in for a needed argument that is missing or refused, so that the others can be tried.
    values = {**dict.fromkeys(needed, 1), **python_values(constructor, fit, inner=inner)}
    together = _call(constructor, values, given, path)
    if together is None:
        return []  # a value may be out of range with the defaults, and valid with the other values given
    found: dict[str, Mistake] = {}
    for key in sorted(fit, key=lambda k: k not in needed):
        tried = {k: 1 if k in found else values[k] for k in needed} | {key: values[key]}
        if mistake := _call(constructor, tried, fit, path, key):
            # What is found of a key again may be about what stands in for it.
            found.setdefault(mistake.path.removeprefix(f"{path}."), mistake)
    return list(found.values()) or ([] if wrong else [together])


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as a flat one, with dotted keys.

    >>> flatten({"rounds": 3, "data": {"name": "digits"}})
    {'rounds': 3, 'data.name': 'digits'}
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def translate(
    error: ValidationError, given: Any, path: str, model: type[BaseModel], beside: Collection[str] = ()
) -> list[Mistake]:
    """Turn pydantic's findings into mistakes: one for each place, in our words.

    Args:
        error: what pydantic raised.
        given: what was checked.
        path: of what was checked.
        model: what it was checked against.
        beside: other keys allowed at the top.
    """
    allowed: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    problems: dict[str, str] = {}
    for found in error.errors(include_url=False):
        place, value = _place(found["loc"], given)
        where = ".".join([path, *place] if path else place)
        values[where] = value
        if found["type"] == "extra_forbidden":
            problems[where] = unknown_key(place[-1], [*beside, *_keys(model, place[:-1])])
        elif found["type"] == "missing":
            where = ".".join(filter(None, [path, *map(str, found["loc"])]))
            example = f", such as {EXAMPLES[where]}" if where in EXAMPLES else ""
            values[where], problems[where] = MISSING, f"it must be given{example}"
        else:
            allowed.setdefault(where, []).append(_words(found, value))
    for where, words in allowed.items():
        problems[where] = f"it must be {' or '.join(dict.fromkeys(words))}"
    return [Mistake(where, problem, values[where]) for where, problem in problems.items()]


def unknown_key(key: str, keys: Collection[str]) -> str:
    """The problem text for a key that does not exist."""
    listed = f"; allowed are {', '.join(keys)}" if keys else "; none is allowed here"
    return f"{UNKNOWN}{listed}.{did_you_mean(key, keys)}"


def from_value_error(error: Exception, given: Mapping[str, Any], path: str, key: str = "") -> Mistake:
    """A constructor's `ValueError` as a mistake, at the key it names, else at `key`."""
    text = str(error)
    key = next((k for k in given if text.startswith(f"{k} is ")), key)
    if not key:
        return Mistake(path, text)
    fact, _, allowed = text.partition("; ")
    return Mistake(f"{path}.{key}", allowed if allowed and " is " in fact else text, given[key])


@cache
def _model(
    constructor: Callable[..., Any], inner: tuple[str, ...], *, partial: bool = False
) -> type[BaseModel] | None:
    """A pydantic model with a field for each argument, none required if `partial`."""
    try:
        parameters = inspect.signature(constructor).parameters.values()
    except (TypeError, ValueError):  # some built-in callables have no signature
        return None
    hints = _hints(constructor)
    fields: dict[str, Any] = {}
    config = _STRICT
    for p in parameters:
        if p.name in inner:
            continue
        if p.kind is p.VAR_KEYWORD:
            config = ConfigDict(**{**_STRICT, "extra": "allow"})
        elif p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            default = None if partial else ... if p.default is p.empty else p.default
            fields[p.name] = (hints.get(p.name, Any), default)
    return create_model("Arguments", __config__=config, **fields)


def _hints(constructor: Callable[..., Any]) -> dict[str, Any]:
    target = constructor.__init__ if inspect.isclass(constructor) else constructor
    try:
        return get_type_hints(target)
    except (NameError, TypeError, AttributeError):  # a user's annotation that cannot be resolved
        return {}


def _required(constructor: Callable[..., Any], inner: Collection[str]) -> list[str]:
    model = _model(constructor, tuple(inner))
    return [name for name, field in model.model_fields.items() if field.is_required()] if model else []


def _call(
    constructor: Callable[..., Any], values: Table, given: Mapping[str, Any], path: str, key: str = ""
) -> Mistake | None:
    try:
        constructor(**values)
    except ValueError as error:
        return from_value_error(error, given, path, key)
    return None


def as_json(given: Mapping[str, Any]) -> str:
    """A table as JSON for pydantic, whose strict typing accepts a text for a path only from JSON."""
    return json.dumps(given, default=str)


def _keys(model: Any, place: list[str]) -> list[str]:
    """The keys that the table at this place may have."""
    for step in place:
        fields = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
        model = fields[step]
        # An optional table: `Table | None`.
        model = next((kind for kind in get_args(model) if hasattr(kind, "model_fields")), model)
    return [f.alias or name for name, f in model.model_fields.items()]


def _place(loc: tuple[int | str, ...], given: Any) -> tuple[list[str], Any]:
    """The part of pydantic's location that exists in what was given, and the value there."""
    place: list[str] = []
    for step in loc:
        if isinstance(given, Mapping) and step in given:
            place.append(str(step))
        elif isinstance(given, list) and isinstance(step, int) and step < len(given):
            place[-1] += f"[{step}]"
        else:
            break
        given = given[step]
    return place, given


def _words(found: Any, value: Any) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind == "literal_error":
        names = [name.strip("'") for name in context["expected"].replace(" or ", ", ").split(", ")]
        return f"one of {', '.join(map(repr, names))}.{did_you_mean(value, names)}"
    if kind == "value_error":  # one of our own checks, "value is ...; it must be ..."
        return str(context["error"]).partition("it must be ")[2]
    return _ALLOWED.get(kind) or found["msg"].removeprefix("Input should be ")
