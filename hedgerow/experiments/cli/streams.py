"""Output for any terminal: characters that its encoding does not have are replaced."""

import codecs
import io
import os
import sys

HANDLER = "hedgerow.plain"
"""Name of the error handler with which `tolerate` replaces characters."""

_PLAIN = str.maketrans(
    {
        "░": ".", "▒": ":", "▓": "*", "█": "#", "─": "-", "━": "-", "│": "|", "…": "~",
        "±": "+-", "×": "x", "·": "|", "→": "->", "–": "-", "—": "-", "•": "*", "’": "'",
        "δ": "delta", "ε": "epsilon", "σ": "sigma", "μ": "mu",
    }
)  # fmt: skip


def tolerate() -> None:
    """Let this process's stdout and stderr accept any text, whatever their encoding: ASCII, cp1252, ...

    Our symbols become similar ones, and other characters an escape such as `\\xf6`.
    A width of 0 columns, as some editors and containers report, is ignored.
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
    # Replacements of symbols are ASCII; the rest may be lone surrogates, which no encoding has.
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(HANDLER, _replace)
