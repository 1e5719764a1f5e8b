"""What a device can check and measure before it joins, and of a run once it knows one."""

import importlib.util
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hedgerow.client.guard import Guard
from hedgerow.client.limits import Limits
from hedgerow.client.machine import Machine
from hedgerow.client.policy import Policy
from hedgerow.files import who_else_can_write
from hedgerow.node.connection import Connection, Unreachable, is_right
from hedgerow.node.device import Device
from hedgerow.node.graphs import DeviceGraphs
from hedgerow.node.keys import node_key
from hedgerow.node.kit import Kit
from hedgerow.node.link import Link, measured
from hedgerow.node.own_samples import resolved
from hedgerow.node.rehearsed import rehearsed
from hedgerow.node.responder import LocalRun
from hedgerow.recipe.announcement import Described, understand
from hedgerow.secure.errors import Refused

Found = tuple[bool, str]


def checks_of(kit: Kit, folder: Path, data: Path, policy: Policy) -> Iterator[Found]:
    """`(passed, what was found)` for each thing that a device needs."""
    joined = Device(folder) if (folder / "device.json").exists() else None
    well, told, link = _coordinator(kit, joined)
    yield well, told
    if link is not None:
        yield True, _link(link)
    yield _folder(folder) if joined is None else (True, f"folder: {folder} is that of {joined.name!r}")
    yield _data(data)
    yield True, f"trainers: {_trainers()}"
    yield True, _memory(policy.limits)
    why = policy.limits.reasons(Machine())
    yield True, f"limits: {'; '.join(why.values()) or 'none holds this device back now'}"
    described = None if joined is None else joined.newest_description()
    if joined is None or described is None:
        yield True, f"step: {1000 * _plain_step():.1f} ms for 100,000 weights and 32 samples in numpy"
        yield True, f"runs: none is known yet, try again once the device has joined; {_by(policy)}"
        return
    yield from _run(understand(described), joined, data, policy, link)


def _coordinator(kit: Kit, joined: Device | None) -> tuple[bool, str, Link | None]:
    with TemporaryDirectory() as place:
        key = node_key(Path(place) / "key") if joined is None else joined.key
        connection = Connection(kit.address, kit.ca, key, seconds=30)
        try:
            link = measured(connection, None if joined else kit.token)
        except Unreachable as error:
            return False, f"coordinator: {error}", None
        finally:
            connection.close()
    ahead = connection.ahead
    if ahead is not None and not is_right(ahead):
        wrong = f"clock: {ahead:+.0f} s from the coordinator's; set it, or wait for the network's time"
        return False, wrong, link
    return True, f"coordinator: {kit.address} answers, and the clocks agree", link


def _link(link: Link) -> str:
    told = f"link: {1000 * link.latency:.0f} ms there and back"
    if not link.down:
        return (
            f"{told}; the coordinator lets only devices with a fresh kit, or that have joined, measure more"
        )
    return f"{told}, {link.down / 1e6:.1f} MB a second from the coordinator, {link.up / 1e6:.1f} MB to it"


def _folder(folder: Path) -> Found:
    place = next(each for each in (folder, *folder.parents) if each.exists())
    why = who_else_can_write(place)
    return not why, f"folder: {why or folder}"


def _data(data: Path) -> Found:
    try:
        resolved(data)
    except ValueError as error:
        return False, f"data: {error}"
    if data.is_file():
        try:
            with data.open("rb") as file:
                file.read(1)
        except OSError as error:
            return False, f"data: {error}"
    return True, f"data: {data} can be read; it is checked against a run's schema before anything is trained"


def _free() -> float | None:
    """Megabytes of memory that programs can still have; `None` where the kernel does not say."""
    file = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", file.read_text()) if file.exists() else None
    return int(found[1]) / 1000 if found else None


def _most(limits: Limits) -> float | None:
    """Megabytes that a node can have here."""
    known = [each for each in (_free(), limits.memory) if each is not None]
    return min(known, default=None)


def _memory(limits: Limits) -> str:
    free = _free()
    told = "memory: what is free is not known here" if free is None else f"memory: {free:.0f} MB are free"
    return told if limits.memory is None else f"{told}, and this device gives {limits.memory} MB"


def _plain_step() -> float:
    """Seconds of a training step of a small network, where no run is known."""
    first, second = np.full((784, 126), 0.01, np.float32), np.full((126, 10), 0.01, np.float32)
    x, times = np.ones((32, 784), np.float32), []
    for _ in range(20):
        began = time.perf_counter()
        hidden = np.maximum(x @ first, 0)
        error = hidden @ second
        back = (error @ second.T) * (hidden > 0)
        first, second = first - 1e-9 * (x.T @ back), second - 1e-9 * (hidden.T @ error)
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def _trainers() -> str:
    """What this device can train with."""
    if importlib.util.find_spec("torch") is not None:
        return "torch is installed"
    by_graphs = importlib.util.find_spec("onnxruntime") is not None
    return f"torch is not installed: {'graphs that a run offers, and ' if by_graphs else ''}plug-ins only"


def _by(policy: Policy) -> str:
    """What a policy lets a run ask."""
    clear = "" if policy.masked_only else ", and in the clear"
    return (
        f"by its policy it takes part under a mask in cohorts of {policy.min_clients} or more, of which"
        f" {100 * policy.corrupt:g} % may work with the server{clear}"
    )


def _run(run: Described, device: Device, data: Path, policy: Policy, link: Link | None) -> Iterator[Found]:
    """What is found of a run that the device has been told of."""
    strategy = run.strategy
    kind = "train.masked" if strategy.pipeline.sum_only else "train"
    called = f"the run ({run.model}, {strategy.name}, {strategy.pipeline.name})"
    if broken := policy.refusals(kind, strategy):
        yield False, f"policy: {called} is refused: {'; '.join(broken)}"
    else:
        how = "under a mask" if strategy.pipeline.sum_only else "in the clear"
        yield True, f"policy: {called} is answered, {how}"
    here = LocalRun(run, device.name, data, DeviceGraphs(device.folder), device.enrolled.trainer)
    try:
        if here.prepare(Guard(policy, device.folder, str(data))) is not None:
            yield True, "model: its graphs come with the first round; try again then"
            return
        found = rehearsed(here, device.name)
    except MemoryError:
        yield False, "model: it does not fit into the memory of this device"
        return
    except (Refused, ValueError) as error:
        yield False, f"model: this device cannot train it: {error or (error.__doc__ or '').splitlines()[0]}"
        return
    most, took = _most(policy.limits), f"this program took {found.megabytes:.0f} MB at most while it trained"
    fits = most is None or found.megabytes < most
    room = "" if most is None else f", and can have {most:.0f} MB"
    yield fits, f"model: it {'fits' if fits else 'does not fit'}: {took}{room}"
    told = (
        f"round: {found.seconds:.2f} s of work, which are {found.steps} steps of {1000 * found.step:.1f} ms"
        f" each and what goes with them; {_size(found.down)} come and {_size(found.up)} go"
    )
    if link is not None and link.down:
        told += f", which take {link.seconds(found.down, found.up):.2f} s over this link"
    yield True, told


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
