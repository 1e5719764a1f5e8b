"""Mutated messages to every decoder: `python -m tests.attacks.fuzz` gives each a million.

It writes fuzz.json beside this file after each part of them, and goes on where it stopped: a part is a run
of its own, from its own seed. With another commit a decoder begins anew. The mutations are our own: of a
message's bytes, and of what it says, since most changes of bytes go no further than the first check.
"""

import argparse
import itertools
import json
import os
import time
import tracemalloc
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import about
from tests.attacks.decoders import DECODERS, Decoder
from tests.attacks.mutations import mutated

FILE = Path(__file__).with_name("fuzz.json")
MILLION, PART = 1_000_000, 20_000
SAMPLED = 499
"""Of so many messages, the memory of one is measured: it takes many times as long."""

BESIDE = 2**16
"""Bytes that a message may take beside twice its own, and what one that is known takes."""


@dataclass(frozen=True)
class Fuzzed:
    """What became of the messages of one decoder.

    Attributes:
        messages: how many there were.
        taken: how many of them were read; the others were refused.
        beyond: bytes beyond twice a message's own that the most greedy of the sampled ones took.
    """

    messages: int
    taken: int
    beyond: int


def fuzzed(name: str, messages: int, seed: int) -> Fuzzed:
    """Give a decoder so many messages; raises `AssertionError` with one that it fails on.

    Most are changed from one that it takes, others from one that was changed and taken.
    """
    decoder, rng = DECODERS[name], np.random.default_rng(seed)
    pool, others, taken, beyond = [*decoder.known], b"".join(decoder.known), 0, 0
    for number in range(messages):
        if number % 2 and decoder.bend is not None:
            data = decoder.bend(decoder.known[number // 2 % len(decoder.known)], rng)
        else:
            data = mutated(pool[number % len(pool)], rng, others)
        if number % SAMPLED:
            fine = _survived(decoder, data)
        else:
            fine, most = peak(decoder, data)
            beyond = max(beyond, most - 2 * len(data))
        taken += fine
        if fine and number % 7 == 0:
            pool[len(decoder.known) :] = [*pool[len(decoder.known) :][-20:], data]
    return Fuzzed(messages, taken, beyond)


def peak(decoder: Decoder, data: bytes) -> tuple[bool, int]:
    """Whether a message is taken, and the most memory that Python had for it."""
    tracemalloc.start()
    try:
        return _survived(decoder, data), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def allowed(name: str) -> int:
    """Bytes beyond twice its own that a message of a decoder may take."""
    decoder = DECODERS[name]
    for data in decoder.known:
        decoder.takes(data)  # what is made once
    return BESIDE + max(peak(decoder, data)[1] for data in decoder.known)


def _survived(decoder: Decoder, data: bytes) -> bool:
    try:
        return decoder.takes(data)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error} on {data.hex()}") from error


def main() -> None:
    """Every decoder, as many at once as there are cores, and what became of them in a file."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", default=list(DECODERS), metavar="DECODER")
    options.add_argument("--messages", type=int, default=MILLION)
    options.add_argument("--seed", type=int, default=8)
    options.add_argument("--at-once", type=int, default=os.cpu_count())
    given = options.parse_args()
    told = about.about("numpy", "protobuf")
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    found = {name: found[name] for name in given.names if found.get(name, {}).get("commit") == told["commit"]}
    with ProcessPoolExecutor(given.at_once) as pool:
        tasks = {
            pool.submit(_counted, name, min(PART, given.messages - first), seed): name
            for first, seed in zip(range(0, given.messages, PART), itertools.count(given.seed))
            for name in given.names
            if seed not in found.get(name, {}).get("seeds", [])
        }
        for done in as_completed(tasks):
            name = tasks[done]
            found[name] = {**told, **_together(found.get(name, {}), done.result())}
            print(name, found[name], flush=True)
            _write(name, found[name])


def _together(former: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What two parts gave."""
    sums = {key: former.get(key, 0) + new[key] for key in ("messages", "taken", "cpu_seconds")}
    most = {key: max(former.get(key, 0), new[key]) for key in ("beyond", "load")}
    return {**new, **sums, **most, "seeds": sorted([*former.get("seeds", []), *new["seeds"]])}


def _write(name: str, new: dict[str, Any]) -> None:
    found = {**(json.loads(FILE.read_text()) if FILE.exists() else {}), name: new}
    FILE.write_text(json.dumps({name: found[name] for name in DECODERS if name in found}, indent=1) + "\n")


def _counted(name: str, messages: int, seed: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # numpy's, of heads that an old Python could have written
    began = time.process_time()
    found = asdict(fuzzed(name, messages, seed))
    return {
        **found,
        "allowed_beyond": allowed(name),
        "cpu_seconds": round(time.process_time() - began),
        "load": round(os.getloadavg()[0], 1),
        "seeds": [seed],
    }


if __name__ == "__main__":
    main()
