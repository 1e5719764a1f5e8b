"""A phone in a real federation: it takes part like any device, whenever its page is closed or the server is away."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.phone import HeadlessPhone, phones
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.devices import RECIPE, OwnDevice, table
from tests.typescript import npm, why_not

ROUNDS = 8
OVERRIDES = [f"rounds={ROUNDS}", "strategy.pipeline=quantize(8)", "run.record=true", "server.deadline=60"]
PULL, PUSH = "/v1/fleet/pull-messages", "/v1/fleet/push-messages"


@dataclass
class Lived:
    """What became of a federation of two devices in Python and a phone, and of a phone that was revoked."""

    real: Coordinated
    phone: HeadlessPhone
    kiosk: HeadlessPhone
    sentences: dict[str, str] = field(default_factory=dict)
    kept: dict[str, list[str]] = field(default_factory=dict)
    replayed: str = ""


@pytest.fixture(scope="module")
def lived(tmp_path_factory) -> Iterator[Lived]:
    if why := why_not():
        pytest.skip(f"NO TYPESCRIPT: a phone's life was NOT tested: {why}")
    done = npm("build")
    assert done.returncode == 0, done.stdout + done.stderr
    home = tmp_path_factory.mktemp("phone")
    recipe = home / "clinics.toml"
    recipe.write_text(RECIPE)
    names = ("kiosk", "phone", "garage", "shed")
    tables = {name: table(home / f"{name}.csv", seed, ("50", "120")) for seed, name in enumerate(names)}
    with coordinated(home, str(recipe), OVERRIDES, _free_ports(1)[0]) as real:
        real.start()
        real.wait_until_it_serves()
        with phones(real.folder, [tables[name] for name in names[:2]]) as (kiosk, phone):
            found = Lived(real, phone, kiosk)
            revoked(found)
            found.kept["joined"] = joined(phone)
            devices = [OwnDevice(real, name, tables[name]).start() for name in names[2:]]
            try:
                disturbed(found)
                real.wait_for_the_end(120)
                found.sentences["away"] = phone.state("offline", len(phone.told) - 1)
            finally:
                for device in devices:
                    device.end()
            found.replayed = real.command("replay", "run")
            yield found


def joined(phone: HeadlessPhone) -> list[str]:
    """Join, and close the page; what is kept then."""
    phone.open("first", "join")
    phone.state("waiting")
    phone.close("first")
    return phone.kept()


def revoked(found: Lived) -> None:
    """The kiosk's life: with a wrong clock, with a right one, revoked, and erased."""
    kiosk = found.kiosk
    kiosk.open("first", "join")
    kiosk.state("waiting")
    kiosk.close("first")
    kiosk.open("fast", "live", ahead=3600)
    found.sentences["fast"] = kiosk.state("refused")
    kiosk.close("fast")
    kiosk.open("second", "live")
    kiosk.state("waiting", since := len(kiosk.told))
    found.real.command("revoke", "phone-1", "--federation", "federation")
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
        "being sent": {"path": PUSH, "time": 2},
    }.items():
        phone.open(page, "live", closes=closes)
        phone.until(lambda told, page=page: told["kind"] == "closed" and told["page"] == page, page)
    phone.open("last", "live")
    since = len(phone.told)
    phone.state("waiting", since)
    real.kill("gateway")
    phone.state("offline", since)
    phone.state("waiting", len(phone.told))


def test_a_run_with_a_phone_is_made_again_bit_for_bit(lived):
    assert "it is the run's model, bit for bit" in lived.replayed
    rounds = [line for line in lived.real.run.rounds() if line["round"]]
    assert [line["round"] for line in rounds] == list(range(1, ROUNDS + 1))


def test_each_of_the_phones_updates_counts_once_wherever_its_page_was_closed(lived):
    rounds = [line for line in lived.real.run.rounds() if line["round"]]
    assert [(sorted(line["clients"]), line["dropped"]) for line in rounds] == [
        (["garage", "phone-2", "shed"], {})
    ] * ROUNDS
    answered = Counter(
        (each["round"], "accuracy" in each) for each in lived.phone.told if each["kind"] == "round"
    )
    assert set(answered) == {(number, kind) for number in range(1, ROUNDS + 1) for kind in (False, True)}


def test_a_phone_says_in_a_sentence_what_is_wrong(lived):
    assert "This phone's clock is 60 min ahead of the coordinator's" in lived.sentences["fast"]
    assert "taken out of the federation" in lived.sentences["revoked"]
    assert "cannot be reached" in lived.sentences["away"]


def test_a_phone_that_leaves_keeps_nothing(lived):
    assert lived.kept == {"joined": ["device.json"], "left": []}
    assert "erased" in lived.sentences["left"]


def test_a_phone_counts_the_bytes_of_its_calls(lived):
    counted = [each for each in lived.phone.told if each["kind"] == "bytes"]
    totals = [(each["up"], each["down"]) for each in counted]
    assert totals == sorted(totals)
    log = (lived.real.home / "up.log").read_text()
    assert not re.search("Traceback|Error:", log)
    assert totals[-1][0] > ROUNDS * 900  # an update and an evaluation of each round
