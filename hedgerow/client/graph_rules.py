"""Which graphs a device takes: code of a kind, so a server that offers one decides nothing."""

from dataclasses import dataclass

from hedgerow import checks
from hedgerow.graphs.offer import Offer

CONSENT = (
    'a graph could return the data as "parameters", and this run has neither a mask nor noise of the device'
)
"""What an owner has to agree to before a graph's updates are sent in the clear."""


@dataclass(frozen=True)
class GraphRules:
    """The device's rules for graphs; by default it takes none.

    Attributes:
        hashes: of graphs that it takes, as `hedgerow export` prints them.
        keys: public keys; it takes what is signed by one of them.
        megabytes: that a run of a graph may take.
        in_the_clear: whether a graph's updates may be sent with neither a mask nor noise of the device.

    Raises:
        ValueError: a value is out of range.
    """

    hashes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    megabytes: int = 256
    in_the_clear: bool = False

    def __post_init__(self) -> None:
        for name in ("hashes", "keys"):
            given = getattr(self, name)
            if not all(isinstance(text, str) and len(text) == 64 for text in given):
                raise ValueError(f"graphs.{name} is {list(given)!r}; each must be 64 hex digits")
        checks.whole(1, **{"graphs.megabytes": self.megabytes})
        if not isinstance(self.in_the_clear, bool):
            raise ValueError(f"graphs.in_the_clear is {self.in_the_clear!r}; it must be true or false")

    @property
    def takes_any(self) -> bool:
        """Whether there is a graph that it takes."""
        return bool(self.hashes or self.keys)

    def refusals(self, offer: Offer, *, protected: bool) -> list[str]:
        """Every rule that an offer breaks, with the reason.

        Args:
            protected: whether the updates are masked, or carry noise of the device.

        >>> GraphRules().refusals(Offer("0" * 64, 1), protected=True)
        ['rule graphs: the device takes no graphs: its policy lists neither a hash nor a key']
        """
        broken = []
        if not self.takes_any:
            broken.append("the device takes no graphs: its policy lists neither a hash nor a key")
        elif offer.hash not in self.hashes and (signer := offer.signer) not in self.keys:
            told = f"signed by {signer[:16]}..., whose key" if signer else "not signed, and their hash"
            broken.append(f"the graphs {offer.hash[:16]}... are {told} the device's policy does not list")
        if not protected and not self.in_the_clear:
            broken.append(f"{CONSENT}; the owner allows it by graphs.in_the_clear")
        return [f"rule graphs: {why}" for why in broken]


NO_GRAPHS = GraphRules()
"""The rules of a device that takes none."""
