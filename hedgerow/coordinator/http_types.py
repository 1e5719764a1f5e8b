"""Requests of devices, and what they are answered with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """A request before its body.

    Attributes:
        method, path: such as `"POST"`, `"/join"`; the path is without its query.
        headers: by lower-case name; of one that comes twice, the last.
        length: bytes of the body that are announced.
        peer: address of the connection.
        gone: whether whoever has asked has left since.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    length: int
    peer: str
    gone: Callable[[], bool]


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, content: Any, **headers: str) -> "Reply":
        """One with JSON in it."""
        return cls(status, json.dumps(content).encode(), {"content-type": "application/json", **headers})


class Refused(Exception):
    """A request that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers

    def reply(self) -> Reply:
        """What is said of it."""
        return Reply.of_json(self.status, {"error": str(self)}, **self.headers)


class Handler(Protocol):
    """Answers requests."""

    def admit(self, request: Request) -> int:
        """The most bytes that the body may have, before anything of it is read; raises `Refused`."""

    async def answer(self, request: Request, body: bytes) -> Reply:
        """The answer to a request that was admitted; raises `Refused`."""
