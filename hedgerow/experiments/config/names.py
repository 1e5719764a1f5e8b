"""Names of a sweep's experiments: in rows, and as folders."""

import hashlib
import re
import unicodedata
from typing import Any

from hedgerow.experiments.config.errors import show
from hedgerow.files import is_device


def slug(text: str) -> str:
    """A text as a folder name for any file system; a digest distinguishes texts with non-ASCII letters.

    >>> slug("chain(top_k(0.01), quantize(8))"), slug("Größe"), slug("rate=1e+30")
    ('chain-top_k-0.01-quantize-8', 'Groe-3c2f10', 'rate=1e30')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    exponents = re.sub(r"(?<=\de)\+(?=\d)", "", plain)  # 1e+30 must not read like 1e-30
    name = re.sub(r"[^A-Za-z0-9_.=]+", "-", exponents).strip("-.")
    if name and len(name) <= 100 and text.isascii() and not is_device(name):
        return name
    return f"{name[:80].replace('.', '-')}-{digest(text)}".lstrip("-")


def words(key: str, value: Any) -> str:
    """A key and its value as a row's name: a text alone, a table by its label.

    >>> words("local.learning_rate", 0.1), words("strategy.pipeline", "quantize(8)")
    ('learning_rate=0.1', 'quantize(8)')
    """
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, dict):
        if "label" in value:
            return str(value["label"])
        return " ".join(words(k, v) for k, v in value.items())
    return f"{key.rpartition('.')[2]}={show(value)}"


def digest(text: str) -> str:
    """Six characters that tell a text from others."""
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
