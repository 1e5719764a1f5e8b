"""Counts the bytes of whatever goes through it: python proxy.py PORT TARGET_PORT FILE."""

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path


class Counts:
    """Bytes each way, written to a file twice a second."""

    up = down = 0

    async def write(self, file: Path) -> None:
        while True:
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps({"up": self.up, "down": self.down}))
            partial.rename(file)
            await asyncio.sleep(0.5)


async def main(port: int, target: int, file: Path) -> None:
    """Forward connections until this process is ended."""
    counts = Counts()

    async def copy(way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                setattr(counts, way, getattr(counts, way) + len(data))
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            onwards = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(copy("up", reader, onwards[1]), copy("down", onwards[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await counts.write(file)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
