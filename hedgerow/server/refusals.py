"""Which devices will not take part in the run of a folder, and why: for whoever operates it."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from hedgerow.files import PRIVATE, write_whole

log = logging.getLogger("hedgerow")

FILE = "refusals.json"


def refusals_in(folder: Path) -> Callable[[Mapping[str, str]], None]:
    """What writes `{name: reason}` down; where it cannot be written, the run goes on."""

    def tell(refusals: Mapping[str, str]) -> None:
        if not refusals and not (folder / FILE).exists():
            return
        try:
            write_whole(folder / FILE, json.dumps(dict(refusals), indent=1).encode(), mode=PRIVATE)
        except OSError as error:
            log.warning("who refuses to take part is not written down: %s", error)

    return tell


def refusals_of(folder: Path) -> Mapping[str, str]:
    """`{name: reason}`; empty where there are none, or the file cannot be read."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        return {str(name): str(why) for name, why in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}
