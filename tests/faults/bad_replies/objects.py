"""What a device can do to the objects that its reply is sent as."""

import json
from collections.abc import Callable

Edit = Callable[[dict[str, bytes], str], None]


def _first(objects: dict[str, bytes], kind: str) -> str:
    return next(name for name, data in objects.items() if data.startswith(kind.encode() + b" "))


def body(kind: str, make: Callable[[bytes], bytes], honest: bool = True) -> Edit:
    """An object with another body; its head says how long it is, unless that lies too."""

    def edit(objects: dict[str, bytes], top: str) -> None:
        name = _first(objects, kind)
        head, _, before = objects[name].partition(b"\0")
        after = make(before)
        if honest:
            first, children, _ = head.split(b" ")
            head = b" ".join((first, children, str(len(after)).encode()))
        objects[name] = head + b"\0" + after

    return edit


def without(kind: str) -> Edit:
    def edit(objects: dict[str, bytes], top: str) -> None:
        del objects[_first(objects, kind)]

    return edit


def chunk_again(data: bytes) -> bytes:
    """One chunk of 160 bytes, a hundred thousand times."""
    about = json.loads(data)
    about["arraychunk_ids"] = [0] * 10**5
    return json.dumps(about).encode()


def places(data: bytes) -> bytes:
    about = json.loads(data)
    about["arraychunk_ids"] = [7]
    return json.dumps(about).encode()


def another_kind(objects: dict[str, bytes], top: str) -> None:
    name = _first(objects, "ArrayRecord")
    objects[name] = objects[name].replace(b"ArrayRecord", b"ArrayChunk", 1)


def in_itself(objects: dict[str, bytes], top: str) -> None:
    """A record that names two thousand arrays, all the same one."""
    name = _first(objects, "ArrayRecord")
    (array,) = json.loads(objects[name].partition(b"\0")[2]).values()
    names = json.dumps({str(number): array for number in range(2000)}).encode()
    objects[name] = f"ArrayRecord {array} {len(names)}\0".encode() + names


CANNOT = "its reply cannot be read"
OBJECTS: dict[str, tuple[Edit, str]] = {
    "one chunk of bytes 100,000 times": (body("Array", chunk_again), "it would take 1"),
    "a chunk that is not there": (body("Array", places), CANNOT),
    "an object cut short": (body("ArrayChunk", lambda data: data[:20], honest=False), "cannot be read"),
    "an object that is no JSON": (body("Array", lambda data: b"{" * 1000), CANNOT),
    "JSON in JSON a hundred thousand deep": (body("ArrayRecord", lambda data: b"[" * 10**5), CANNOT),
    "an object of another kind": (another_kind, CANNOT),
    "an object that is missing": (without("ArrayChunk"), CANNOT),
    "settings that are no Protocol Buffers": (body("ConfigRecord", lambda data: b"\xff" * 40), CANNOT),
    "a record of the same array 2,000 times": (in_itself, "the array 'values' is missing"),
    "an envelope that is nonsense": (body("Message", lambda data: b"\xff" * 40), "it did not reply in time"),
}
