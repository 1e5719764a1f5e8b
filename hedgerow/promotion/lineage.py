"""What is known of a promoted model: where it comes from, and by which rule it was taken."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

SIGNED, FIRST_USE, SIMULATION, FLOWER = "signed", "first-use", "simulation", "flower"
"""Who vouches for the clients: an administrator, the coordinator alone, nobody, or Flower's own programs."""


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from.

    Attributes:
        recipe: its name.
        configuration: SHA-256 of the run's `config.toml`, 64 hex digits.
        run: the run's folder, or its name in what devices are told.
        round: that made the model.
        clients: how many different ones counted in a round up to that one.
        privacy: `epsilon`, `delta` and `adjacency` of a client, and of a sample with `sample_` before
            each; empty where the run promises nothing.
        trust: `"signed"`, `"first-use"`, `"simulation"` or `"flower"`.
        metrics: measured of the model, by the server or as means over clients.
        hedgerow: version that the model was promoted by.
    """

    recipe: str
    configuration: str
    run: str
    round: int
    clients: int
    privacy: Mapping[str, float | str]
    trust: str
    metrics: Mapping[str, float]
    hedgerow: str

    def told_privacy(self) -> str:
        """In words.

        >>> Lineage("", "", "", 1, 1, {}, "signed", {}, "").told_privacy()
        'not private'
        """
        found = []
        for who, prefix in (("client", ""), ("sample", "sample_")):
            if f"{prefix}epsilon" in self.privacy:
                epsilon, delta, adjacency = (
                    self.privacy[prefix + key] for key in ("epsilon", "delta", "adjacency")
                )
                found.append(f"epsilon {epsilon:.3g} of a {who} at delta {delta:g} ({adjacency})")
        return ", ".join(found) or "not private"


@dataclass(frozen=True)
class Promotion:
    """A model that was promoted.

    Attributes:
        number: of its line in the folder's file, from 1.
        time: when, ISO 8601 in UTC.
        model: SHA-256 of the safetensors file, 64 hex digits.
        size: of that file, in bytes.
        rule: by which it was taken: `{"rule": "by hand"}`, or a canary's with its figures.
        lineage: where it comes from.
        description: of the run as devices are told it, canonical JSON: with it the model can be used.
    """

    number: int
    time: str
    model: str
    size: int
    rule: Mapping[str, Any]
    lineage: Lineage
    description: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Any) -> Self:
        """Undo `to_json`; raises `ValueError` for what is none."""
        try:
            lineage = Lineage(**_known(Lineage, given["lineage"]))
            found = cls(**{**_known(cls, given), "lineage": lineage})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is no promotion: {error!r}") from error
        if not is_digest(found.model) or not isinstance(found.description, str):
            raise ValueError(f"it is no promotion: the model is {found.model!r:.80}")
        texts = (found.time, lineage.recipe, lineage.run, lineage.trust, lineage.hedgerow)
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("it is no promotion: what it says of itself must be texts of one line")
        if not _is_count(found.size) or not _is_count(found.number) or not _is_count(lineage.round):
            raise ValueError("it is no promotion: size, number and round must be whole numbers")
        return found


def is_digest(text: Any) -> bool:
    """Whether it is 64 hex digits."""
    return isinstance(text, str) and len(text) == 64 and not set(text) - set("0123456789abcdef")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _known(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """What this version knows of a record: a later one may say more."""
    names = {each.name for each in fields(kind)}
    return {key: value for key, value in given.items() if key in names}
