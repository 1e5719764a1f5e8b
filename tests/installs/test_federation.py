"""A federation from empty environments, in five commands: each device with its own file, as its own user."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import policy_text
from hedgerow.coordinator import processes
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.ports import free_port
from tests.engines.federation.devices import RECIPE, write_clinics, write_plugin
from tests.installs.environments import Environment
from tests.installs.people import Person, alone, ended, owner

NAMES = ("attic", "barn", "cellar")
PATIENCE = 900.0  # seconds: a minute, on a machine that is not shared
MASKED = [
    "strategy.name=secure_fedavg",
    "strategy.min_clients=3",
    "strategy.dropout=0.0",
    "strategy.corrupt=0.0",
]


@pytest.fixture
def everybody(place: Path, environment: Callable[[str], Environment]) -> list[Person]:
    """The coordinator, and a person for each device, with nothing but an environment, data and a policy."""
    coordinator, device = environment("server"), environment("")
    for made in (coordinator, device):
        write_plugin(made.packages)  # the package with the trainer that the recipe names
    homes = place / "homes"
    homes.mkdir()
    people = [Person("coordinator", 0, homes / "coordinator", coordinator)]
    people[0].write("clinics.toml", RECIPE)
    people += [Person(name, number, homes / name, device) for number, name in enumerate(NAMES, 1)]
    (place / "tables").mkdir(mode=0o700)
    for person, file in zip(people[1:], write_clinics(place / "tables", NAMES), strict=True):
        person.bring(file)
        person.write("policy.toml", policy_text(Policy.unenrolled()))
    return people


def wait(person: Person, ready: Callable[[], object], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until, person.said
        assert person.running[-1].poll() is None or ready(), person.said
        time.sleep(0.05)


def simulated(place: Path, environment: Environment, name: str, overrides: list[str]) -> bytes:
    """The model of one process that has the union of the devices' files."""
    files = [str(place / "tables" / f"{each}.csv") for each in NAMES]
    out, recipe = place / name, str(place / "homes" / "coordinator" / "clinics.toml")
    told = environment.run(
        "hedgerow",
        "run",
        recipe,
        *overrides,
        f"data.files={json.dumps(files)}",
        "--out",
        str(out),
        "--workers",
        "1",
    )
    assert told.returncode == 0, told.stderr
    return (out / "model.safetensors").read_bytes()


def model(coordinator: Person, run: str) -> bytes:
    return (coordinator.home / run / "model.safetensors").read_bytes()


def test_one_command_coordinates_and_four_bring_three_devices_in(place, environment, everybody, capsys):
    """The plain model is that of the union bit for bit, and so is the masked one: the ring's sum is exact."""
    coordinator, *devices = everybody
    # First: run as root, they compile what the processes of other users could not keep compiled.
    plain = simulated(place, coordinator.environment, "simulated", [])
    masked = simulated(place, coordinator.environment, "simulated-masked", [*MASKED, "rounds=2"])
    began = time.monotonic()
    port = ["--port", str(free_port())]
    with ended(everybody):
        up = coordinator.start("up", "clinics.toml", *port, "--out", "plain")
        wait(coordinator, lambda: "status page" in coordinator.said)
        coordinator.run("invite", *NAMES)
        for device in devices:
            device.bring(coordinator.home / f"{device.name}.kit")
            device.start(
                "join", f"{device.name}.kit", "--data", f"{device.name}.csv", "--policy", "policy.toml"
            )
        assert [len(person.counted) for person in everybody] == [2, 1, 1, 1]
        coordinator.running.append(up)
        wait(coordinator, lambda: "round 1 of" in coordinator.said)
        users_are_apart(coordinator, devices)
        assert up.wait(PATIENCE) == 0, coordinator.said
        again = coordinator.start("up", "clinics.toml", *MASKED, "rounds=2", "--out", "masked")
        assert again.wait(PATIENCE) == 0, coordinator.said
        seconds = time.monotonic() - began
        assert [device.end() for device in devices] == [[0], [0], [0]]
    with capsys.disabled():
        print(f"\nfrom empty environments, in {seconds:.0f} s:")
        for person in everybody:
            print("\n".join(f"  {person.name}: {command}" for command in person.counted))
        print(f"  {alone() or 'each is a user of its own, and cannot read the others’ files'}")
    assert model(coordinator, "plain") == plain
    assert model(coordinator, "masked") == masked
    lines = (coordinator.home / "masked" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["secure"] for line in lines if json.loads(line)["round"]] == ["masked", "masked"]


def users_are_apart(coordinator: Person, devices: list[Person]) -> None:
    """Who runs what, and that nobody can read what another one has."""
    if alone():
        return
    known = FederationFolder.open(coordinator.home / "federation").read(processes.FILE, {})
    assert {"superlink", "gateway", "page"} == set(known)
    assert {owner(each["pid"]) for each in known.values()} == {coordinator.uid}
    assert [owner(device.running[0].pid) for device in devices] == [device.uid for device in devices]
    assert len({person.uid for person in (coordinator, *devices)}) == 4
    for device in devices:
        file = device.home / f"{device.name}.csv"
        reads = f"print(len(open({str(file)!r}).read()) > 0)"
        assert device.python(reads) == "True\n"
        assert {other.python(reads) for other in (coordinator, *devices) if other is not device} == {
            "PermissionError"
        }
