"""For the operator: which devices refuse to take part in a folder's run, and why."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from hedgerow.files import PRIVATE, write_whole

log = logging.getLogger("hedgerow")

FILE = "refusals.json"


def refusals_in(folder: Path) -> Callable[[Mapping[str, str]], None]:
    """A function that saves `{name: reason}`; if it cannot be written, the run continues."""

    def tell(refusals: Mapping[str, str]) -> None:
        if not refusals and not (folder / FILE).exists():
            return
        try:
            write_whole(folder / FILE, json.dumps(dict(refusals), indent=1).encode(), mode=PRIVATE)
        except OSError as error:
            log.warning("the list of devices that refuse to take part is not saved: %s", error)

    return tell


def refusals_of(folder: Path) -> Mapping[str, str]:
    """`{name: reason}`; empty if there are none, or the file cannot be read."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        return {str(name): str(why) for name, why in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}
