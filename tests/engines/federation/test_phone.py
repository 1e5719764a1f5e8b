"""A phone in a real federation: a device like any other, whenever its page is closed, or the server away."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from hedgerow.graphs.offer import read_signed
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.phone import HeadlessPhone, phones
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.devices import RECIPE, OwnDevice, table
from tests.typescript import compiled

pytestmark = pytest.mark.slow

ROUNDS = 3
TASK = ["model.name=mlp-2nn", "model.hidden=300", "run.trainer=loop"]
"""A model whose update takes 92 kB: it goes in objects, and not in its envelope."""

PLAIN = [f"rounds={ROUNDS}", *TASK, "strategy.pipeline=quantize(8)", "run.record=true", "server.deadline=60"]
MASKED = [
    "rounds=2", *TASK, "run.record=true", "server.deadline=60", "strategy.name=secure_fedavg",
    "strategy.min_clients=3", "strategy.dropout=0.0", "strategy.corrupt=0.0", "evaluation.per_client=false",
]  # fmt: skip
GRAPHS = ["--graphs", "graphs"]
PULL, PUSH, OBJECT = "/v1/fleet/pull-messages", "/v1/fleet/push-messages", "/v1/fleet/push-object"


@dataclass
class Lived:
    """What became of a federation of two devices in Python and a phone, and of a phone that was revoked."""

    real: Coordinated
    phone: HeadlessPhone
    kiosk: HeadlessPhone
    sentences: dict[str, str] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    rounds: dict[str, list[dict]] = field(default_factory=dict)
    replayed: dict[str, str] = field(default_factory=dict)

    def ended(self, run: str) -> None:
        """Wait until the run that goes on has ended; then there is room for another."""
        self.real.wait_for_the_end()
        self.rounds[run] = [line for line in self.real.run.rounds() if line["round"]]
        self.real.run.path.rename(self.real.home / run)


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Iterator[Lived]:
    compiled()
    home = tmp_path_factory.mktemp("phone")
    recipe = home / "clinics.toml"
    recipe.write_text(RECIPE)
    names = ("kiosk", "phone", "garage", "shed")
    tables = {name: table(home / f"{name}.csv", seed, ("50", "120")) for seed, name in enumerate(names)}
    with coordinated(home, str(recipe), [*PLAIN, *GRAPHS], _free_ports(1)[0]) as real:
        real.command("export", str(recipe), *PLAIN, "--out", "graphs", "--sign", "signing.key")
        _, offer = read_signed(home / "graphs")
        real.start()
        real.wait_until_it_serves()
        with phones(real.folder, [tables[name] for name in names[:2]], offer.key) as (kiosk, phone):
            found = Lived(real, phone, kiosk)
            revoked(found)
            found.kept["joined"] = joined(phone)
            devices = [OwnDevice(real, name, tables[name]).start() for name in names[2:]]
            try:
                disturbed(found)
                found.ended("plain")
                found.sentences["away"] = phone.state("offline", len(phone.told) - 1)
                signed(real)
                real.overrides = [*MASKED, *GRAPHS]
                real.start()
                found.ended("masked")
            finally:
                for device in devices:
                    device.end()
            found.kept["in the end"] = phone.kept()
            found.replayed = {run: real.command("replay", run) for run in found.rounds}
            yield found


def signed(real: Coordinated) -> None:
    """An administrator signs the register, and publishes it."""
    register = real.home / "register.toml"
    register.write_text((real.folder.path / "register.toml").read_text())
    real.command("register", "sign", str(register), "--key", "administrator.key")
    real.command("register", "publish", str(register), "--federation", "federation")


def joined(phone: HeadlessPhone) -> list[str]:
    """Join, and close the page; what is kept then."""
    phone.open("first", "join")
    phone.state("waiting")
    phone.close("first")
    return phone.kept()


def revoked(found: Lived) -> None:
    """The kiosk's life: with a right clock, with a wrong one, revoked, and erased."""
    kiosk = found.kiosk
    kiosk.open("first", "join")
    kiosk.state("waiting")
    kiosk.close("first")
    kiosk.open("fast", "live", ahead=3600)
    found.sentences["fast"] = kiosk.state("refused")
    kiosk.close("fast")
    found.real.command("revoke", "phone-1", "--federation", "federation")
    since = len(kiosk.told)
    kiosk.open("second", "live")
    found.sentences["revoked"] = kiosk.state("revoked", since)
    kiosk.close("second")
    kiosk.open("leaving", "leave")
    found.sentences["left"] = kiosk.state("left", since)
    found.kept["left"] = kiosk.kept()


def disturbed(found: Lived) -> None:
    """Close the phone's page wherever that may cost something, and end the server's processes."""
    phone, real = found.phone, found.real
    for page, closes in {
        "sent, and not heard": {"path": PUSH, "time": 3, "after": True},
        "handed over, and not kept": {"path": PULL, "time": 2, "after": True},
        "half sent": {"path": OBJECT, "time": 2},
    }.items():
        phone.open(page, "live", closes=closes)
        phone.until(lambda told, page=page: told["kind"] == "closed" and told["page"] == page, page)
    phone.open("last", "live")
    since = len(phone.told)
    phone.state("waiting", since)
    real.kill("gateway")
    phone.state("offline", since)
    phone.state("waiting", len(phone.told))


@pytest.mark.parametrize(("run", "number"), [("plain", ROUNDS), ("masked", 2)])
def test_a_run_with_a_phone_is_made_again_bit_for_bit(lived, run, number):
    assert "it is the run's model, bit for bit" in lived.replayed[run]
    assert [line["round"] for line in lived.rounds[run]] == list(range(1, number + 1))


@pytest.mark.parametrize("run", ["plain", "masked"])
def test_each_of_the_phones_updates_counts_once_wherever_its_page_was_closed(lived, run):
    assert [(sorted(line["clients"]), line["dropped"]) for line in lived.rounds[run]] == [
        (["garage", "phone-2", "shed"], {})
    ] * len(lived.rounds[run])


def test_a_page_is_told_of_each_round(lived):
    told = [each for each in lived.phone.told if each["kind"] == "round"]
    runs = list(dict.fromkeys(each["run"] for each in told))
    seen = {(each["run"], each["round"]) for each in told}
    assert seen == {(runs[0], n + 1) for n in range(ROUNDS)} | {(runs[1], n + 1) for n in range(2)}
    assert {each["round"] for each in told if "accuracy" in each} == set(range(1, ROUNDS + 1))


def test_a_phone_keeps_its_administrators_register_and_states_by_run(lived):
    kept = lived.kept["in the end"]
    assert "register.toml" in kept
    assert [name for name in kept if name.startswith("outbox/pending/")] == []
    assert any(name.startswith("graphs/") for name in kept)


def test_a_phone_says_in_a_sentence_what_is_wrong(lived):
    assert "This phone's clock is 60 min ahead of the coordinator's" in lived.sentences["fast"]
    assert "taken out of the federation" in lived.sentences["revoked"]
    assert "cannot be reached" in lived.sentences["away"]


def test_a_phone_that_leaves_keeps_nothing(lived):
    assert (lived.kept["joined"], lived.kept["left"]) == (["device.json"], [])
    assert "erased" in lived.sentences["left"]


def test_a_phone_counts_the_bytes_of_its_calls(lived):
    counted = [each for each in lived.phone.told if each["kind"] == "bytes"]
    totals = [(each["up"], each["down"]) for each in counted]
    assert totals == sorted(totals)
    log = (lived.real.home / "up.log").read_text()
    assert not re.search("Traceback|Error:", log)
    assert totals[-1][0] > ROUNDS * 92_000
