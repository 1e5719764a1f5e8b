"""The recording of a round, from which the server's model can be rebuilt."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hedgerow.types.model import Arrays


@dataclass(frozen=True)
class Recording:
    """One round: everything that the server's step depends on.

    Attributes:
        round: its number.
        cohort: stable names of the clients that were asked, sorted.
        clients: number of clients online, asked or not.
        counted: number of clients that count.
        dropped: `{client: reason}`.
        failed: why the model did not change, or an empty text.
        replies: `{client: reply}` of those that count, if the server may see them, in the format of
            `server.recording.pack`.
        arrays: otherwise, what the server saw of them together: the ring sum of a masked round, or
            what a private one released; never a sum before its noise.
        versions: of an asynchronous run: `{client: round}` that made the model which each was sent.
    """

    round: int
    cohort: tuple[str, ...]
    clients: int
    counted: int
    dropped: Mapping[str, str] = field(default_factory=dict)
    failed: str = ""
    replies: Mapping[str, bytes] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
