"""The page in a real federation: its owner's data, rounds, the model, and whatever may come between."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hedgerow.experiments.runs.promote import promote
from hedgerow.graphs.bundle import Graphs
from hedgerow.promotion.canary import Canary
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.browser import browser
from tests.engines.operated.phone_page.line import Line, line_to
from tests.engines.operated.phone_page.tab import Tab, it_fits_and_reads
from tests.engines.operated.phone_page.workers import ClockTab
from tests.installs.phones import skip_without, trusting

RECIPE = """
name = "digits"
rounds = 5000
[data]
name = "own"
shape = [1, 28, 28]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
lowest = [0.0]
highest = [1.0]
held_out = 0.5
[model]
name = "logistic"
[strategy]
name = "fedavg"
clients_per_round = 1
[evaluation]
clients = "all"
[server]
min_clients = 1
deadline = 10.0
"""
ROUNDS = "document.querySelectorAll('tbody tr').length"
LAST = "parseInt(document.querySelector('tbody td')?.textContent ?? '0')"
Points = list[tuple[float, float]]
ONE, SEVEN = [(0.5, 0.1), (0.5, 0.9)], [(0.2, 0.2), (0.8, 0.2), (0.4, 0.9)]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinated]:
    skip_without()
    home = tmp_path_factory.mktemp("phones")
    (home / "digits.toml").write_text(RECIPE)
    with coordinated(home, "digits.toml", [], _free_ports(1)[0]) as made:
        made.command("export", "digits.toml", "--out", "graphs")
        made.overrides = ["--graphs", "graphs", "--phones", "3"]
        made.start()
        made.wait(lambda: re.search(r"/phone/#", made.said), "the code for phones")
        yield made


@pytest.fixture(scope="module")
def page(real: Coordinated) -> Iterator[Tab]:
    with browser(Tab, variables=trusting(real.folder.path / "ca.pem", real.home / "browser")) as tab:
        tab.size(390, 844)
        yield tab


@pytest.fixture(scope="module")
def line(real: Coordinated) -> Iterator[Line]:
    with line_to(real.port) as made:
        yield made


@pytest.fixture(scope="module")
def code(real: Coordinated, line: Line) -> str:
    """The address that the code holds, through a line that can be cut."""
    return line.through(re.findall(r"https://\S+/phone/#\S+", real.said)[-1])


def joined(page: Tab, code: str) -> None:
    """Follow the code, agree to send openly, and join."""
    page.open(code)
    page.waits_for("this phone will refuse that run")
    page.click("Also openly")
    page.click("Agree and join")
    page.wait("!!document.querySelector('canvas.drawing')")


def goes_on(page: Tab) -> None:
    """Rounds come that were not there."""
    before = page.run(LAST)
    page.wait(f"{LAST} > {before}", 120)


def kept(page: Tab, number: int) -> None:
    page.wait(f"document.querySelectorAll('.entries li').length === {number}")


def drawn(page: Tab, digit: str, points: Points, number: int) -> None:
    """Draw a digit several times, no two alike, so that a part is for testing."""
    page.click(digit)
    for place in range(number):
        page.draw(*points, (0.4 + 0.04 * place, 0.9))
        page.click("Keep")
        kept(page, place + 1)


def complaints(page: Tab) -> list[str]:
    """Beside the calls that could not be made, and those that were refused."""
    page.run("0")
    meant = ("ERR_INTERNET_DISCONNECTED", "status of 401", "status of 403", "ERR_CONNECTION", "ERR_NETWORK")
    return [each for each in page.problems if not any(told in each for told in meant)]


def test_data_are_drawn_by_mouse_and_by_keys_listed_and_deleted(
    page: Tab, code: str, pictures: Path | None
) -> None:
    joined(page, code)
    page.click("Keep")
    page.waits_for("Draw something first.")
    page.draw(*ONE)
    page.click("Keep")
    page.waits_for("Say first what it is.")
    for number, (digit, points) in enumerate([("1", ONE), ("7", SEVEN)] * 4):
        page.click(digit)
        if number:
            page.draw(*points, (points[-1][0] + 0.04 * number, 0.9))  # no two alike, for the test part
        page.click("Keep")
        kept(page, number + 1)
    page.click("1")
    page.run("document.querySelector('canvas.drawing').focus()")
    page.press(" ", "ArrowDown", "ArrowDown", "ArrowDown", " ", "Enter")
    kept(page, 9)
    page.look(pictures, "phone-data")
    it_fits_and_reads(page)
    page.tab_to("Delete: Drawing of 1")
    page.press("Enter")
    kept(page, 8)


def test_a_picture_is_picked_and_what_is_none_is_refused(page: Tab, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (56, 56), 200).save(tmp_path / "grey.png")
    (tmp_path / "none.png").write_text("no picture")
    page.click("Pick pictures")
    page.click("3")
    page.pick(tmp_path / "none.png")
    page.waits_for("is not a picture")
    page.pick(tmp_path / "grey.png")
    kept(page, 9)
    page.waits_for("Picture of 3: grey.png")


def test_the_phone_takes_part_and_its_owner_sees_how(page: Tab, pictures: Path | None) -> None:
    page.click("Taking part")
    page.click("Take part")
    page.wait(f"{ROUNDS} >= 3", 180)
    page.waits_for("a change of the model")
    page.look(pictures, "phone-round")
    it_fits_and_reads(page)
    page.click("My data")
    page.waits_for("are kept for testing")
    page.click("Taking part")


def test_a_page_that_is_loaded_again_at_any_moment_goes_on_by_itself(page: Tab, code: str) -> None:
    for state in ("Learning from your data.", "Sending what it has learned."):
        page.wait(f"document.querySelector('#state')?.textContent === '{state}'", 120)
        page.open(code.partition("#")[0])
        page.wait("!!document.querySelector('#state')")
        goes_on(page)


def test_a_page_that_is_closed_amid_an_upload_sends_it_again_when_it_is_open(
    page: Tab, code: str, line: Line
) -> None:
    line.stall(10_000)  # of an update's 31,400 bytes
    assert line.stalled.wait(120)
    page.open("about:blank")
    line.off()
    line.on()
    page.open(code.partition("#")[0])
    page.wait("!!document.querySelector('#state')")
    goes_on(page)


def test_of_two_tabs_one_takes_part_and_the_other_says_so_and_goes_on_afterwards(
    page: Tab, code: str
) -> None:
    address = code.partition("#")[0]
    with page.other_tab():
        page.open(address)
        page.waits_for("taking part in another tab")
    goes_on(page)


def test_without_a_network_it_says_so_and_goes_on_when_there_is_one(page: Tab, line: Line) -> None:
    line.off()
    page.waits_for("There is no network", 120)
    line.on()
    goes_on(page)


def test_a_tab_that_is_hidden_for_three_minutes_costs_its_own_rounds_and_goes_on(
    page: Tab, real: Coordinated, code: str
) -> None:
    page.click("Pause")
    page.waits_for("Paused")
    with browser(ClockTab, variables=trusting(real.folder.path / "ca.pem", real.home / "another")) as tab:
        joined(tab, code)
        drawn(tab, "7", SEVEN, 4)
        tab.click("Taking part")
        tab.click("Take part")
        tab.wait(f"{ROUNDS} >= 2", 120)
        with tab.hidden():
            before = real.rounds()
            real.wait(lambda: any(line["failed"] for line in real.run.rounds()[before:]), "lost round")
        goes_on(tab)
        tab.click("Leave")
        tab.click("Leave and erase everything")
        tab.click("Yes, erase")
        tab.waits_for("Scan your invitation")
        assert complaints(tab) == []
    page.click("Take part")
    goes_on(page)


def test_no_round_hung_and_no_update_was_counted_twice(real: Coordinated) -> None:
    rounds = [line for line in real.run.rounds() if line["round"]]
    assert [line["round"] for line in rounds] == [*range(1, len(rounds) + 1)]
    counted = [{*line["clients"]} - {*line["dropped"]} for line in rounds]
    assert set().union(*counted) == {"phone-1", "phone-2"}
    for line, names in zip(rounds, counted, strict=True):
        assert (len(names), bool(line["failed"])) in ((1, False), (0, True))
        assert line["seconds"] < 60
        for told in line["clients"].values():
            assert told["bytes_up"] < 2 * 31_400, "an answer counts once, however often it was sent"


def test_the_promoted_model_answers_what_is_drawn(
    page: Tab, real: Coordinated, pictures: Path | None
) -> None:
    page.click("Try it")
    page.waits_for("There is no promoted model yet.")
    real.command("promote", "run", "last")
    page.waits_for("your own test part", 120)
    page.draw(*SEVEN)
    page.waits_for("It is 7, says the model")
    page.look(pictures, "phone-model")
    it_fits_and_reads(page)


def test_a_canary_is_measured_by_a_phone_by_the_graphs_that_a_promoted_model_names(
    page: Tab, real: Coordinated
) -> None:
    found = promote(real.home / "run", canary=Canary(1.0, worse=1.0))
    assert (found.rule["asked"], found.rule["measured"], found.rule["dropped"]) == (
        ["phone-1"], ["phone-1"], {}
    )  # fmt: skip
    page.waits_for(f"Model {found.model[:16]}", 120)
    assert json.loads(found.description)["graphs"]["hash"] == Graphs.read(real.home / "graphs").hash
    page.waits_for("your own test part", 120)


def test_a_phone_whose_key_is_revoked_says_so_and_leaves_with_nothing_kept(
    page: Tab, real: Coordinated
) -> None:
    page.click("Taking part")
    real.command("revoke", "phone-1")
    page.waits_for("key was revoked", 120)
    page.click("Leave")
    it_fits_and_reads(page)
    page.click("Leave and erase everything")
    page.click("Yes, erase")
    page.waits_for("Scan your invitation")
    assert page.later("indexedDB.databases().then((all) => all.length)") == 0


def test_what_the_browser_erases_is_missed_and_said(page: Tab, code: str) -> None:
    joined(page, code)
    drawn(page, "7", SEVEN, 8)
    page.click("Taking part")
    page.click("Take part")
    page.wait(f"{ROUNDS} >= 1", 120)
    page.cleared(code.partition("/phone/")[0])
    page.waits_for("This browser has erased what it kept", 120)


def test_nothing_was_complained_of(page: Tab) -> None:
    assert complaints(page) == []
