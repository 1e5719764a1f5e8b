"""Messages with changes that somebody who sends them could have made."""

import numpy as np


def mutated(content: bytes, rng: np.random.Generator, others: bytes) -> bytes:
    """The same with up to four changes: bits, bytes, cuts, repeats, parts of another, large numbers."""
    data = bytearray(content)
    for kind, spot, length, value in rng.integers(0, 2**31, (int(rng.integers(1, 5)), 4)).tolist():
        place, size = spot % max(1, len(data)), 1 + length % 29
        match kind % 6:
            case 0:
                data[place : place + 1] = bytes([data[place] ^ 1 << value % 8] if data else b"")
            case 1:
                data[place : place + 1] = bytes([value % 256])
            case 2:
                del data[place : place + size]
            case 3:
                data[place:place] = data[place : place + size]
            case 4:
                data[place : place + size] = others[value % len(others) :][:size]
            case 5:
                data[place : place + 1] = b"\xff" * (1 + value % 10) + b"\x01"
    return bytes(data)
