"""The graphs that a federation hands out to its devices.

graphs/HASH           graphs with their manifest, as they travel
graphs/handed.jsonl   a line for each time that a device was sent some

GET /graphs/HASH      for devices that have joined
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import final

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.http_types import Refused, Reply
from hedgerow.files import PRIVATE, append_line, private_folder, read_lines, write_whole
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.offer import PATH, packed
from hedgerow.promotion.lineage import is_digest

log = logging.getLogger("hedgerow")

_HANDED = "handed.jsonl"
_TIMES = 100
"""How often a gateway sends one device the same graphs: each time is a line that stays."""


@final
class GraphStore:
    """The graphs in a federation's folder."""

    def __init__(self, folder: FederationFolder) -> None:
        self._folder = folder.path / "graphs"
        self._times = Counter[tuple[str, str]]()

    def put(self, graphs: Graphs) -> None:
        """Add graphs; raises `OSError`."""
        write_whole(private_folder(self._folder) / graphs.hash, packed(graphs), mode=PRIVATE)

    @staticmethod
    def has(path: str) -> bool:
        """Whether a path is that of graphs; no part of it is used as a file name but a hash."""
        return path.startswith(f"{PATH}/") and is_digest(path.removeprefix(f"{PATH}/"))

    def answer(self, path: str, name: str) -> Reply:
        """The answer to a device's request for a path that it `has`; raises `Refused`."""
        digest = path.removeprefix(f"{PATH}/")
        if self._times[digest, name] >= _TIMES:
            raise Refused(429, f"these graphs were sent {_TIMES} times; keep them", **{"retry-after": "3600"})
        try:
            data = (self._folder / digest).read_bytes()
            append_line(self._folder / _HANDED, json.dumps([digest, name, len(data)]))
            self._times[digest, name] += 1
        except FileNotFoundError:
            raise Refused(404, "the coordinator has no graphs of this hash") from None
        except OSError as error:
            log.error("the graphs %s cannot be handed out: %s", digest[:16], error)
            raise Refused(500, "the coordinator cannot answer now; its log says why") from error
        return Reply(200, data, {"content-type": "application/octet-stream", "etag": f'"{digest}"'})

    def handed(self, after: int) -> Iterator[tuple[str, str, int]]:
        """`(hash, device, bytes)` of each time after the first so many; a damaged line is of none."""
        for line in read_lines(self._folder / _HANDED)[after:]:
            try:
                digest, name, size = json.loads(line)
                yield str(digest), str(name), int(size)
            except (ValueError, TypeError):
                yield "", "", 0
