"""What is known about a promoted model: its origin, and the rule by which it was accepted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

SIGNED, FIRST_USE, SIMULATION, FLOWER = "signed", "first-use", "simulation", "flower"
"""What vouches for the clients: an administrator, only the coordinator, nothing, or Flower's own programs."""


@dataclass(frozen=True)
class Lineage:
    """The origin of a model.

    Attributes:
        recipe: its name.
        configuration: SHA-256 of the run's `config.toml`, 64 hex digits.
        run: the run's folder, or its name in what devices are told.
        round: that made the model.
        clients: number of different clients that counted in any round so far.
        privacy: `epsilon`, `delta` and `adjacency` for a client, and for a sample with the prefix
            `sample_`; empty if the run promises nothing.
        trust: `"signed"`, `"first-use"`, `"simulation"` or `"flower"`.
        metrics: of the model, measured by the server or as means over clients.
        hedgerow: version that promoted the model.
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
        """The privacy in words.

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
        rule: by which it was accepted: `{"rule": "by hand"}`, or a canary's with its figures.
        lineage: its origin.
        description: of the run as devices get it, canonical JSON; needed to use the model.
    """

    number: int
    time: str
    model: str
    size: int
    rule: Mapping[str, Any]
    lineage: Lineage
    description: str = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The promotion as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Any) -> Self:
        """Undo `to_json`; raises `ValueError` for anything else."""
        try:
            lineage = Lineage(**_known(Lineage, given["lineage"]))
            found = cls(**{**_known(cls, given), "lineage": lineage})
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"it is not a promotion: {error!r}") from error
        if not is_digest(found.model) or not isinstance(found.description, str):
            raise ValueError(f"it is not a promotion: the model is {found.model!r:.80}")
        texts = (found.time, lineage.recipe, lineage.run, lineage.trust, lineage.hedgerow)
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("it is not a promotion: its descriptions must be single lines of text")
        if not _is_count(found.size) or not _is_count(found.number) or not _is_count(lineage.round):
            raise ValueError("it is not a promotion: size, number and round must be whole numbers")
        return found


def is_digest(text: Any) -> bool:
    """Whether it is 64 hex digits."""
    return isinstance(text, str) and len(text) == 64 and not set(text) - set("0123456789abcdef")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _known(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that this version knows; later versions may add more."""
    names = {each.name for each in fields(kind)}
    return {key: value for key, value in given.items() if key in names}
