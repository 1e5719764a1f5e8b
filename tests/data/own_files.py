"""The rows of a table of our own, and a CSV file of them."""

from pathlib import Path

ROWS = [("age", "who", "height", "ill")] + [
    (str(20 + k), f"clinic {k % 3}", f"{1.5 + k / 100:.2f}", "yes" if k % 2 else "no") for k in range(12)
]


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def changed(row: int, column: int, value: str) -> list[tuple[str, ...]]:
    """The rows with one cell changed; row 1 is the names."""
    rows = [list(r) for r in ROWS]
    rows[row - 1][column] = value
    return [tuple(r) for r in rows]
