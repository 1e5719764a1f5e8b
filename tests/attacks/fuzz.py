"""Mutated messages to every decoder: `python -m tests.attacks.fuzz` gives each a million.

It writes fuzz.json beside this file. The mutations are our own, from a seed: of a message's bytes, and of
what it says, since most changes of bytes go no further than the first check.
"""

import argparse
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
MILLION = 1_000_000
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
    given = options.parse_args()
    found: dict[str, Any] = json.loads(FILE.read_text())["decoders"] if FILE.exists() else {}
    told = about.about("numpy", "protobuf")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        tasks = {pool.submit(_counted, name, given.messages, given.seed): name for name in given.names}
        for done in as_completed(tasks):
            found[tasks[done]] = done.result()
            print(tasks[done], found[tasks[done]], flush=True)
            kept = {name: found[name] for name in DECODERS if name in found}
            FILE.write_text(json.dumps({**told, "decoders": kept}, indent=1) + "\n")


def _counted(name: str, messages: int, seed: int) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # numpy's, of heads that an old Python could have written
    began = time.monotonic()
    found = asdict(fuzzed(name, messages, seed))
    return {
        **found,
        "allowed_beyond": allowed(name),
        "seed": seed,
        "seconds": round(time.monotonic() - began),
    }


if __name__ == "__main__":
    main()
