"""The gateway as a process of its own: `python -m hedgerow.coordinator.serve FOLDER PARENT`."""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from hedgerow.coordinator.beats import BEAT_SECONDS, beat, beat_file
from hedgerow.coordinator.certificates import LOOPBACK, gateway_certificate
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.gateway import Gateway
from hedgerow.coordinator.http import HttpServer


async def serve(folder: FederationFolder, parent: int) -> None:
    """Serve a federation until the process is told to end, or its parent has ended."""
    settings = folder.settings
    host = settings.host if settings.host in (*LOOPBACK, "::1") else None
    gateway, ended = Gateway(folder), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    chores = asyncio.create_task(gateway.run())
    context = gateway_certificate(folder).context()
    try:
        async with HttpServer(gateway, host, settings.port, context):
            while not ended.is_set() and os.getppid() == parent:
                beat(beat_file(folder, "gateway"))
                try:
                    await asyncio.wait_for(ended.wait(), BEAT_SECONDS)
                except TimeoutError:
                    continue
    finally:
        chores.cancel()
        await gateway.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("hedgerow").setLevel(logging.INFO)
    asyncio.run(serve(FederationFolder.open(Path(sys.argv[1])), int(sys.argv[2])))
