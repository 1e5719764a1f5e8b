"""Run a device that has joined: `python -m hedgerow.node FOLDER`, which `hedgerow join` finally calls."""

import logging
import os
import signal
import sys
from pathlib import Path

from hedgerow.locks import FolderInUse, hold
from hedgerow.node.device import Device
from hedgerow.node.node import Node


class _Plain(logging.Formatter):
    """One line for each event; an error's traceback only on request."""

    def format(self, record: logging.LogRecord) -> str:
        if os.environ.get("HEDGEROW_DEBUG", "0") in ("", "0"):
            record.exc_info = record.exc_text = None
        return super().format(record)


def main(folder: Path) -> int:
    """Take part until SIGTERM or Ctrl-C; the exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        with hold(folder):
            node = Node(Device(folder), lambda text: print(text, flush=True))
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: node.stop())
            node.run()
    except (FolderInUse, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
