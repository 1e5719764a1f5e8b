"""Output that any terminal can show: what its encoding does not have is written in other characters."""

import codecs
import io
import os
import sys

HANDLER = "hedgerow.plain"
"""Name of the way that `tolerate` has characters replaced."""

_PLAIN = str.maketrans(
    {
        "░": ".", "▒": ":", "▓": "*", "█": "#", "─": "-", "━": "-", "│": "|", "…": "~",
        "±": "+-", "×": "x", "·": "|", "→": "->", "–": "-", "—": "-", "•": "*", "’": "'",
        "δ": "delta", "ε": "epsilon", "σ": "sigma", "μ": "mu",
    }
)  # fmt: skip


def tolerate() -> None:
    """Let this process's stdout and stderr take every text, whatever their encoding: ASCII, cp1252, ...

    Symbols of ours become similar ones, anything else an escape such as `\\xf6`.
    A width of 0 columns, which some editors and containers tell, is none.
    """
    if os.environ.get("COLUMNS") == "0":
        del os.environ["COLUMNS"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    # What stands for a symbol is ASCII; what is left may be half of a pair, which no encoding has.
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(HANDLER, _replace)
