"""The phone's part, in TypeScript (`web/`), is held to the same golden files, and reads what Python reads."""

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from hedgerow.datasets.own_file import load_own
from hedgerow.ring.packing import unpack_indices
from hedgerow.secure import codec as secure
from hedgerow.secure.errors import Refused
from hedgerow.secure.messages import Delivery, Setup
from hedgerow.types import PayloadError
from hedgerow.wire import codec
from tests.golden import drawn_strategies
from tests.golden.odd_tables import as_line, tables
from tests.typescript import compiled, node, npm

READERS: dict[str, Callable[[bytes], str]] = {
    "content": lambda data: codec.encode(codec.decode(data)).hex(),
    "setup": lambda data: secure.encode(secure.decode(Setup, data)).hex(),
    "delivery": lambda data: secure.encode(secure.decode(Delivery, data)).hex(),
    "positions": lambda data: ",".join(map(str, unpack_indices(np.frombuffer(data, np.uint8), 203, 10))),
}


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    compiled()


def test_the_typescript_client_does_what_the_golden_files_say():
    done = npm("tests")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed, done.stdout
    assert int(passed[1]) >= 186


def test_both_languages_build_and_refuse_the_same_strategies_from_drawn_descriptions():
    descriptions = list(drawn_strategies.descriptions(1000))
    done = npm("hashes", given="\n".join(map(json.dumps, descriptions)))
    assert done.returncode == 0, done.stderr
    seen = Counter[bool]()
    for description, theirs in zip(descriptions, done.stdout.splitlines(), strict=True):
        ours = drawn_strategies.hash_of(description)
        assert theirs == ours if ours is not None else theirs.startswith("refused: "), description
        seen[ours is None] += 1
    assert min(seen.values()) > 150


def test_both_languages_read_and_refuse_the_same_damaged_messages():
    done = npm("readings")
    assert done.returncode == 0, done.stderr
    seen = Counter[tuple[str, bool]]()
    for line in done.stdout.splitlines():
        kind, data, theirs = line.split(" ", 2)
        ours: str | None = None
        with suppress(PayloadError, Refused):
            ours = READERS[kind](bytes.fromhex(data))
        if theirs.endswith("above 2**53"):  # what a number of JavaScript does not hold is refused there alone
            continue
        assert theirs == ours if ours is not None else theirs.startswith("refused: "), line
        seen[kind, ours is None] += 1
    assert len(seen) == 2 * len(READERS)
    assert min(seen.values()) > 50
    assert seen.total() > 7900


def test_a_phone_reads_the_same_samples_from_a_table_as_python_does(tmp_path):
    files = list(tables())
    (tmp_path / "tables").write_text("".join(f"{as_line(*each)}\n" for each in files))
    seen, file = Counter[bool](), tmp_path / "own.csv"
    for (schema, data), theirs in zip(files, node("tables", tmp_path / "tables").splitlines(), strict=True):
        file.write_bytes(data)
        ours = None
        with suppress(ValueError), np.errstate(over="ignore"):  # of numbers that float32 does not hold
            samples = load_own(file, schema)
            ours = f"{samples.x.tobytes().hex()} {samples.y.astype(np.float32).tobytes().hex()}"
        assert theirs == ours if ours is not None else theirs.startswith("refused: "), data
        seen[ours is None] += 1
    assert min(seen[True], seen[False]) > 100
