"""Graphs as a run names them, and as they travel: by their hash, signed by whoever answers for them.

The hash is the manifest's, which holds those of both graphs, so a signature of it covers everything. Whoever
signs needs no coordinator, and no coordinator needs the key.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, final

from hedgerow.files import write_whole
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.inspection import LARGEST
from hedgerow.secure.errors import BadSignature
from hedgerow.secure.primitives import Secret, identity_key, sign, verify
from hedgerow.wire.text import read_json

SIGNATURE = "signature.json"
"""The file beside the graphs."""

PATH = "/graphs"
"""Where a coordinator hands them out, by their hash."""

MOST = 3 * LARGEST
"""Bytes of graphs and manifest together."""

_CONTEXT = b"hedgerow graphs 1\n"
_HEAD = b"hedgerow graphs 1: "


@final
@dataclass(frozen=True)
class Offer:
    """Which graphs a run has, before anybody has them.

    Attributes:
        hash: of the graphs, 64 hex digits.
        size: bytes that they take as they travel.
        key: public key of who signed them, 64 hex digits; empty if nobody did.
        signature: 128 hex digits, or empty.

    Raises:
        BadGraphs: a value is out of range.
    """

    hash: str
    size: int
    key: str = ""
    signature: str = ""

    def __post_init__(self) -> None:
        lengths = {"hash": (64,), "key": (0, 64), "signature": (0, 128)}
        for name, allowed in lengths.items():
            text = getattr(self, name)
            if not isinstance(text, str) or len(text) not in allowed or set(text) - set("0123456789abcdef"):
                raise BadGraphs(f"the {name} of the graphs must have {allowed[-1]} hex digits")
        if not isinstance(self.size, int) or not 0 < self.size <= MOST:
            raise BadGraphs(f"the graphs have more than {MOST} bytes, or none")

    @classmethod
    def of(cls, graphs: Graphs, secret: Secret | None = None) -> Self:
        """The offer of some graphs, signed if there is a key.

        >>> graphs = Graphs.of({}, {}, b"one", {}, b"two")
        >>> key = Secret(bytes(range(32)))
        >>> Offer.of(graphs, key).signer == identity_key(key).hex(), Offer.of(graphs).signer
        (True, '')
        """
        size = len(packed(graphs))
        if secret is None:
            return cls(graphs.hash, size)
        signature = sign(secret, _CONTEXT + bytes.fromhex(graphs.hash)).hex()
        return cls(graphs.hash, size, identity_key(secret).hex(), signature)

    @property
    def signer(self) -> str:
        """The key that has signed these graphs; empty if none has, or the signature is not valid."""
        try:
            signed = _CONTEXT + bytes.fromhex(self.hash)
            verify(bytes.fromhex(self.key), bytes.fromhex(self.signature), signed, "the graphs")
        except BadSignature:
            return ""
        return self.key

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Any) -> Self:
        """Undo `to_json`; raises `BadGraphs`."""
        if not isinstance(found, Mapping) or set(found) != {"hash", "size", "key", "signature"}:
            raise BadGraphs("an offer of graphs has a hash, a size, a key and a signature")
        return cls(**found)

    def opened(self, data: bytes) -> Graphs:
        """The graphs as they have travelled; raises `BadGraphs` if they are not these."""
        head = data[:200].partition(b"\n")[0]
        try:
            if not head.startswith(_HEAD) or len(data) != self.size:
                raise ValueError
            first, second, third = (int(part) for part in head.removeprefix(_HEAD).split())
        except ValueError:
            raise BadGraphs("what was sent as graphs is something else") from None
        start = len(head) + 1
        ends = start + first, start + first + second, start + first + second + third
        if min(first, second, third) < 0 or ends[-1] != len(data):
            raise BadGraphs("what was sent as graphs is cut off")
        described = data[start : ends[0]]
        if hashlib.sha256(described).hexdigest() != self.hash:
            raise BadGraphs("the graphs are not those whose hash was named")
        return Graphs(described, data[ends[0] : ends[1]], data[ends[1] :])


def packed(graphs: Graphs) -> bytes:
    """Graphs with their manifest as they travel."""
    parts = graphs.described, graphs.train, graphs.evaluate
    lengths = " ".join(str(len(part)) for part in parts)
    return b"".join([_HEAD, lengths.encode(), b"\n", *parts])


def write_signature(offer: Offer, folder: Path) -> None:
    """Put a signature beside the graphs; raises `OSError`."""
    told = {"key": offer.key, "signature": offer.signature}
    write_whole(folder / SIGNATURE, json.dumps(told, indent=1).encode())


def read_signed(folder: Path) -> tuple[Graphs, Offer]:
    """Graphs of a folder, and their offer with the signature that lies beside them, if one does.

    Raises:
        BadGraphs: a file is damaged, from another export, or signed for other graphs.
        OSError: a graph or the manifest is missing, or cannot be read.
    """
    graphs, file = Graphs.read(folder), folder / SIGNATURE
    if not file.exists():
        return graphs, Offer.of(graphs)
    try:
        offer = Offer.from_json({**Offer.of(graphs).to_json(), **read_json(file.read_bytes())})
    except (ValueError, TypeError) as error:
        raise BadGraphs(f"{file} cannot be read ({error}); sign the graphs again") from None
    if not offer.signer:
        raise BadGraphs(f"{file} is not a signature of these graphs; sign them again")
    return graphs, offer
