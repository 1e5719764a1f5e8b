"""The gateway as a separate process: `python -m hedgerow.coordinator.serve FOLDER PARENT`."""

import asyncio
import importlib.util
import logging
import os
import resource
import signal
import ssl
import sys
from pathlib import Path

from hedgerow.coordinator.beats import BEAT_SECONDS, beat, beat_file
from hedgerow.coordinator.certificates import LOOPBACK, gateway_certificate
from hedgerow.coordinator.entrance import Entrance
from hedgerow.coordinator.events import note
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.http import HttpServer

log = logging.getLogger("hedgerow")

_LOOK_SECONDS = 2.0


async def renew(
    folder: FederationFolder,
    context: ssl.SSLContext,
    shown: tuple[int, ...],
    seconds: float = _LOOK_SECONDS,
) -> None:
    """Use a new certificate as soon as there is one, and make one if the old one expires soon.

    `shown` is the stamp of the one in the context. Never returns.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            found = await asyncio.to_thread(gateway_certificate, folder)
            if found.stamp != shown:
                shown = found.stamp
                found.load(context)
                note(folder, f"the gateway uses a new certificate, valid until {found.ends:%d %B %Y}")
        except (FederationError, OSError, ValueError) as error:
            log.error("the certificate is unchanged: %s", error)


def look_for_no_sniffio() -> None:
    """Have httpcore, which looks for it with each call, not go through the whole path where there is none."""
    if importlib.util.find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]


def allow_connections() -> None:
    """Raise this process's limit of open files, and so of connections, as far as allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(folder: FederationFolder, parent: int) -> None:
    """Serve a federation until the process is told to end, or its parent has ended."""
    settings = folder.settings
    host = settings.host if settings.host in (*LOOPBACK, "::1") else None
    entrance, ended = Entrance(folder), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    certificate = gateway_certificate(folder)
    stamp, context = certificate.stamp, certificate.context()
    chores = [asyncio.create_task(each) for each in (entrance.run(), renew(folder, context, stamp))]
    try:
        async with HttpServer(entrance, host, settings.port, context):
            while not ended.is_set() and os.getppid() == parent:
                beat(beat_file(folder, "gateway"))
                try:
                    await asyncio.wait_for(ended.wait(), BEAT_SECONDS)
                except TimeoutError:
                    continue
    finally:
        for chore in chores:
            chore.cancel()
        await entrance.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("hedgerow").setLevel(logging.INFO)
    allow_connections()
    look_for_no_sniffio()
    asyncio.run(serve(FederationFolder.open(Path(sys.argv[1])), int(sys.argv[2])))
