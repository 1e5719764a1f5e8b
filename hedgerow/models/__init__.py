"""Models by name, and the user's own by `module:function` or `file.py:function`.

torch is imported when a model is built, not before.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from hedgerow.own_code import find_own
from hedgerow.registry import Registry
from hedgerow.wording import did_you_mean

MODELS = Registry(
    "model",
    "hedgerow.models",
    {
        "logistic": "hedgerow.models.dense:logistic",
        "mlp-2nn": "hedgerow.models.dense:mlp_2nn",
        "cnn-fedavg": "hedgerow.models.convolution:cnn_fedavg",
        "cnn-small": "hedgerow.models.convolution:cnn_small",
        "cnn-1d": "hedgerow.models.convolution:cnn_1d",
        "resnet-gn-tiny": "hedgerow.models.residual:resnet_gn_tiny",
        "gru-char": "hedgerow.models.recurrent:gru_char",
        "lstm-char": "hedgerow.models.recurrent:lstm_char",
    },
)

_FACTS = ("input_shape", "num_classes")


@final
@dataclass(frozen=True, eq=False)
class NamedModel:
    """Makes a new module when called; until then it is only a name and arguments, and needs no torch.

    Attributes:
        name: in `MODELS`, or the user's own, as `build` takes it.
        arguments: `input_shape`, `num_classes` and the model's options. A trainer may read them to
            build its own model.
    """

    name: str
    arguments: Mapping[str, Any]

    def __call__(self) -> Any:
        """Make a `torch.nn.Module`; raises `ValueError` if the name does not give one, as `build` does."""
        from torch import nn

        function = _resolve(self.name)
        module = function(**_taken(self.name, function, self.arguments))
        if isinstance(module, nn.Module):
            return module
        raise ValueError(f"model {self.name!r} returned {module!r}; it must return a torch.nn.Module")


def build(name_or_path: str, *, input_shape: tuple[int, ...], num_classes: int, **options: Any) -> NamedModel:
    """Make a model factory, for `Task(model=...)`.

    Args:
        name_or_path: a name in `MODELS`, `"module:function"`, or
            `"file.py:function"` with a path that may be relative.
        input_shape: of one sample, such as `(1, 28, 28)` or `(80,)`.
        num_classes: of the dataset.
        options: the model's other arguments, such as `hidden=64`.

    A user's function (or class) is given `input_shape` and `num_classes` only if
    it takes them.

    Returns:
        A function that makes a new `torch.nn.Module`. It can be pickled.

    Raises:
        ValueError: there is no such name, module, file or function, or it does
            not take the options; or, when the factory is called, the function
            does not return a module.

    >>> make = build("logistic", input_shape=(2,), num_classes=3)
    >>> sum(p.numel() for p in make().parameters())
    9
    """
    arguments = {"input_shape": tuple(input_shape), "num_classes": num_classes, **options}
    _taken(name_or_path, _resolve(name_or_path), arguments)
    return NamedModel(name_or_path, arguments)


def _taken(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for a function: all options, and those facts of the data that it takes."""
    taken = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    for option in arguments:
        if option not in (*taken, *_FACTS) and not takes_all:
            names = [n for n in taken if n not in _FACTS]
            listed = ", ".join(repr(n) for n in names) or "none"
            raise ValueError(
                f"model {name!r} has no option {option!r}; its options: {listed}."
                f"{did_you_mean(option, names)}"
            )
    given = {key: value for key, value in arguments.items() if key in taken or takes_all}
    missing = [
        n
        for n, p in taken.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and n not in given
    ]
    if missing:
        raise ValueError(f"model {name!r} needs a value for {', '.join(map(repr, missing))}")
    return given


def _resolve(name_or_path: str) -> Callable[..., Any]:
    """The function that makes the model."""
    function = find_own(name_or_path, "model") if ":" in name_or_path else MODELS.get(name_or_path)
    if not callable(function) or (hasattr(function, "state_dict") and not isinstance(function, type)):
        raise ValueError(
            f"model {name_or_path!r} is a {type(function).__name__} object; "
            f"it must be a function or class that makes a module"
        )
    return function  # type: ignore[no-any-return]
