"""The built page for phones: where it is, its hash, and its files as they are served.

`make web` builds `web/dist`; a wheel that was made after it has the same files as
`hedgerow/coordinator/phone`, but those with a `.gz` in that form alone: they are large.
The hash is what anybody can compute from the files in `web/dist`:

    find . -type f ! -name build.json ! -name '*.br' ! -name '*.gz' | sed 's|^./||' | LC_ALL=C sort \
        | xargs sha256sum | sha256sum
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

INDEX, ABOUT_BUILD = "index.html", "build.json"
BROTLI, GZIP = ".br", ".gz"
"""Suffixes of files that hold another one compressed."""

_PACKED = {BROTLI: "br", GZIP: "gzip"}  # as content encodings are called

_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_HASHED = re.compile(r"assets/.*[.-][A-Za-z0-9_-]{8,}\.[a-z0-9]+")  # as Vite names what it builds
_FOREVER, _ASK_FIRST = "public, max-age=31536000, immutable", "no-cache"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


class NoBuild(ValueError):
    """There is no page for phones, or it is not what its hash says; the error says what to do."""


@dataclass(frozen=True)
class Asset:
    """A file of the page.

    Attributes:
        kind: its media type.
        cache: what browsers are told of keeping it.
        bodies: `{content encoding: bytes}`; the file itself has the encoding `""`.
        digest: SHA-256 of the file itself, 64 hex digits.
    """

    kind: str
    cache: str
    bodies: Mapping[str, bytes]
    digest: str


@dataclass(frozen=True)
class Build:
    """The page as it was built: its hash, and its files by their paths."""

    hash: str
    assets: Mapping[str, Asset]


def build_folder() -> Path:
    """Where the built page is: in the installed package, or in the sources beside it; raises `NoBuild`."""
    package = Path(__file__).parent
    for folder in (package / "phone", package.parents[1] / "web" / "dist"):
        if (folder / ABOUT_BUILD).exists():
            return folder
    raise NoBuild(
        "there is no page for phones in this installation; build it in a copy of the sources with 'make web',"
        " or install a wheel that was made after it"
    )


def names_of(folder: Path) -> list[str]:
    """Paths of the files that belong to the page, without compressed forms and `build.json`, sorted.

    Raises:
        NoBuild: a file has a name that could not be in an address, or is a link.
    """
    found = set()
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink() or not _NAME.fullmatch(name):
            raise NoBuild(f"{file} cannot belong to the page for phones; build it again: make web")
        if file.is_file() and file.suffix != BROTLI:
            found.add(name.removesuffix(GZIP))
    return sorted(found - {ABOUT_BUILD})


def hash_of(folder: Path) -> str:
    """The build's hash, 64 hex digits: SHA-256 of the lines that `sha256sum` prints of its sorted files."""
    return _overall({name: _sha256(_content(folder / name)) for name in names_of(folder)})


def load(folder: Path) -> Build:
    """Read the page, all of it, so that what is served stays what the hash says.

    Raises:
        NoBuild: a file is missing, has been changed since, or is of no kind that a page has.
    """
    try:
        stated = json.loads((folder / ABOUT_BUILD).read_bytes())["hash"]
        assets = {name: _asset(folder, name) for name in [*names_of(folder), ABOUT_BUILD]}
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        if isinstance(error, NoBuild):
            raise
        raise NoBuild(
            f"the page for phones in {folder} cannot be read: {error}; build it again: make web"
        ) from error
    found = _overall({name: asset.digest for name, asset in assets.items() if name != ABOUT_BUILD})
    if found != stated:
        raise NoBuild(
            f"the page for phones in {folder} has been changed: its hash is {found[:16]}..., and"
            f" {ABOUT_BUILD} says {str(stated)[:16]}...; build it again: make web"
        )
    return Build(found, assets)


def _asset(folder: Path, name: str) -> Asset:
    file = folder / name
    if file.suffix not in _KINDS:
        raise NoBuild(f"{file} is of no kind that the page for phones has; build it again: make web")
    bodies = {"": _content(file)}
    for suffix, encoding in _PACKED.items():
        packed = file.with_name(file.name + suffix)
        if packed.is_file():
            bodies[encoding] = packed.read_bytes()
    if "gzip" in bodies and gzip.decompress(bodies["gzip"]) != bodies[""]:
        raise NoBuild(f"{file}{GZIP} holds another file than {file.name}; build it again: make web")
    cache = _FOREVER if _HASHED.fullmatch(name) else _ASK_FIRST
    return Asset(_KINDS[file.suffix], cache, bodies, _sha256(bodies[""]))


def _content(file: Path) -> bytes:
    """A file of the page, which may be there compressed alone."""
    return file.read_bytes() if file.exists() else gzip.decompress(Path(f"{file}{GZIP}").read_bytes())


def _overall(digests: Mapping[str, str]) -> str:
    return _sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
