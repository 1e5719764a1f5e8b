"""Values of 64 bits that occur nowhere by chance, in every form in which they could leave a device."""

import base64
import random
from collections.abc import Iterable, Iterator

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from tests.engines.operated.devices import SCALE, SHIFT


class Canaries:
    """Of a data folder's name, and of a row of the data.

    Attributes:
        folder: its name has 64 random bits.
        row: two numbers, within what the schema allows, of 26 random bits each as float32.
    """

    def __init__(self, folder: str, drawn: random.Random) -> None:
        self.folder = folder
        self.row = (f"{drawn.uniform(40, 70):.12f}", f"{drawn.uniform(100, 140):.12f}")

    def forms(self) -> dict[str, bytes]:
        """What to look for, by a name for the error."""
        values = np.array([float(cell) for cell in self.row])
        scaled = (values - SHIFT) / SCALE
        found = of_text("name of the data folder", self.folder)
        found |= of_values("row", values) | of_values("scaled row", scaled)
        found |= encoded(
            "scaled row, in float32 all along",
            ((values.astype("<f4") - SHIFT.astype("<f4")) / SCALE.astype("<f4")).tobytes(),
        )
        for place, cell in enumerate(self.row):
            found |= of_text(f"cell {place} as text", cell[:-3])
            found |= of_text(f"cell {place} without its point", cell.replace(".", ""))
            whole = int(cell.replace(".", "")).to_bytes(8, "little")
            found |= encoded(f"cell {place} as a whole number", whole)
        return found


def encoded(name: str, canary: bytes) -> dict[str, bytes]:
    """Bytes as they are, backwards, in hexadecimal, and in base64 wherever they begin in it."""
    digits, found = canary.hex(), {name: canary, f"{name}, backwards": canary[::-1]}
    found[f"{name} in hexadecimal"], found[f"{name} in capitals"] = digits.encode(), digits.upper().encode()
    for skipped in range(3):
        whole = canary[skipped : len(canary) - (len(canary) - skipped) % 3]
        found[f"{name} in base64 from {skipped}"] = base64.b64encode(whole)
        found[f"{name} in base64url from {skipped}"] = base64.urlsafe_b64encode(whole)
    return found


def of_text(name: str, canary: str) -> dict[str, bytes]:
    """A text in UTF-8 and UTF-16, and each of these encoded."""
    found = encoded(name, canary.encode())
    return found | encoded(f"{name} in UTF-16", canary.encode("utf-16-le")) | {
        f"{name} in UTF-16, big end first": canary.encode("utf-16-be")
    }  # fmt: skip


def of_values(name: str, values: NDArray[np.float64]) -> dict[str, bytes]:
    """Numbers one after another, as float32; and each of them as float64."""
    found = encoded(f"{name} as float32", values.astype("<f4").tobytes())
    found[f"{name} as float32, big end first"] = values.astype(">f4").tobytes()
    for place, value in enumerate(values):
        found |= encoded(f"value {place} of {name} as float64", value.astype("<f8").tobytes())
    return found


def of_secret(name: str, secret: bytes) -> dict[str, bytes]:
    """Every 64 bits of a secret, as they are, in hexadecimal and in base64."""
    found = {}
    for place in range(len(secret) - 7):
        part = secret[place : place + 8]
        found[f"{name} at {place}"] = part
        found[f"{name} at {place}, in hexadecimal"] = part.hex().encode()
        found[f"{name} at {place}, in capitals"] = part.hex().upper().encode()
    for skipped in range(3):
        whole = secret[skipped : skipped + 24]
        found[f"{name} in base64 from {skipped}"] = base64.b64encode(whole)[:16]
        found[f"{name} in base64url from {skipped}"] = base64.urlsafe_b64encode(whole)[:16]
    return found


def scalar(pem: bytes) -> bytes:
    """The secret number of a node's key."""
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes(48, "big")


def seen(forms: dict[str, bytes], places: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """Where any of them is."""
    for place, content in places:
        for name, form in forms.items():
            if form in content:
                yield f"{name}: {place}"
