"""Requests of devices, and replies to them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from hedgerow.wire.text import read_json


@dataclass(frozen=True)
class Request:
    """A request before its body.

    Attributes:
        method, path: such as `"POST"`, `"/join"`; the path has no query.
        headers: by lower-case name; of repeated ones, the last.
        length: announced bytes of the body.
        peer: address of the connection.
        gone: returns whether the client has disconnected.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    length: int
    peer: str
    gone: Callable[[], bool]


@dataclass(frozen=True)
class Reply:
    """A reply to a request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, content: Any, **headers: str) -> "Reply":
        """A reply with a JSON body."""
        return cls(status, json.dumps(content).encode(), {"content-type": "application/json", **headers})


class Refused(Exception):
    """A request is refused; `status` is the HTTP status."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers

    def reply(self) -> Reply:
        """The reply that says so."""
        return Reply.of_json(self.status, {"error": str(self)}, **self.headers)


class Handler(Protocol):
    """Answers requests."""

    def admit(self, request: Request) -> int:
        """The most bytes that the body may have, decided before it is read; raises `Refused`."""

    async def answer(self, request: Request, body: bytes) -> Reply:
        """The answer to a request that was admitted; raises `Refused`."""


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a request; raises `Refused`."""
    try:
        asked = read_json(body)
    except ValueError as error:
        raise Refused(400, "the request is not JSON") from error
    if not isinstance(asked, dict):
        raise Refused(400, "the request must be a JSON object")
    return asked
