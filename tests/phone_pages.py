"""A small page for phones as `make web` leaves one, for tests that need no browser."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

from hedgerow.coordinator.phone_build import ABOUT_BUILD, hash_of

SCRIPT = "assets/main-Cw4l5Ije.js"
FILES: Mapping[str, bytes] = {
    "index.html": b"<!doctype html><title>phones</title>",
    "sw.js": b"self.addEventListener('fetch', () => {});",
    "manifest.webmanifest": b"{}",
    SCRIPT: b"console.log('" + b"x" * 300_000 + b"');",
    "assets/ort-wasm-simd-threaded-Bx_81-zQ.wasm": b"\0asm" + bytes(range(256)) * 8,
    "icon.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


def write_page(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """Write a page with its hash; the script is compressed beforehand, in both ways."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / ABOUT_BUILD).write_text(json.dumps({"hash": hash_of(folder)}))
    if SCRIPT in files:
        (folder / f"{SCRIPT}.gz").write_bytes(gzip.compress(files[SCRIPT], mtime=0))
        (folder / f"{SCRIPT}.br").write_bytes(b"as a browser would unpack it")
    return folder
