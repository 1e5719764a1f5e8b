"""JSON from another machine."""

import json
from typing import Any


def read_json(data: str | bytes) -> Any:
    """The value that is written as JSON.

    Raises:
        ValueError: it is no JSON, or nested so deeply that Python cannot read it.

    >>> read_json(b'{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
