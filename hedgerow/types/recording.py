"""What is recorded of a round, so that the server's model can be had from it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from hedgerow.types.model import Arrays


@dataclass(frozen=True)
class Recording:
    """One round, as the server's step depends on it.

    Attributes:
        round: its number.
        cohort: stable names of the clients that were asked, sorted.
        clients: all that were there, asked or not.
        counted: clients that count.
        dropped: `{client: reason}`.
        failed: why the model stayed as it was, or an empty text.
        replies: `{client: reply}` of those that count, where the server may see them, as
            `server.recording.pack` writes them.
        arrays: else what the server saw of them together: the ring sum of a masked round, or what
            a private one released; never a sum before its noise.
    """

    round: int
    cohort: tuple[str, ...]
    clients: int
    counted: int
    dropped: Mapping[str, str] = field(default_factory=dict)
    failed: str = ""
    replies: Mapping[str, bytes] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)
