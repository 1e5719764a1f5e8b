"""The page for phones by itself: readable, by keys alone, offline, and the same from the same sources."""

import json
from collections.abc import Callable
from pathlib import Path

from tests.engines.operated.browser import Crashed, browser
from tests.engines.operated.phone_page.conftest import build
from tests.engines.operated.phone_page.served import DIGITS, Served, another_build
from tests.engines.operated.phone_page.tab import Tab, it_fits_and_reads

FIRST_VISIT, SECOND_VISIT = 4_500_000, 100_000  # bytes on the wire
OFFERED = "5b" * 32


def about(least: int) -> dict[str, object]:
    masked = {"least": least} if least else None
    return {
        "name": "digits", "rounds": 20, "schema": DIGITS, "model": {"values": 21_840}, "masked": masked,
        "bytes": {"up": 87_360, "down": 90_000}, "epsilon": None,
        "graphs": {"hash": OFFERED, "size": 9, "key": ""},
    }  # fmt: skip


def test_two_builds_have_the_same_bytes_and_a_list_of_all_files(built: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "again")
    names = {file.relative_to(built) for file in built.rglob("*") if file.is_file()}
    assert names == {file.relative_to(again) for file in again.rglob("*") if file.is_file()}
    assert all((built / name).read_bytes() == (again / name).read_bytes() for name in names)
    told = json.loads((built / "build.json").read_text())
    ours = {str(n) for n in names if n.suffix not in (".br", ".gz")} - {"build.json"}
    assert set(told["files"]) == ours
    assert all({Path(f"{name}.br"), Path(f"{name}.gz")} <= names for name in ours)


def test_the_page_is_read_and_used_without_a_mouse_on_the_smallest_screen(
    host: Served, pictures: Path | None
) -> None:
    host.about = about(8)
    with browser(Tab) as page:
        page.size(320, 640)
        page.open(host.address)
        page.waits_for("Scan your invitation")
        page.look(pictures, "phone-missing")
        it_fits_and_reads(page)
        a_pasted_address_opens(page, host)
        it_says_what_is_learned_and_refuses_an_open_run(page, host, pictures)
        page.tab_to("No, forget this invitation")
        page.press("Enter")
        page.waits_for("The invitation is forgotten. Nothing was sent.")
        assert page.problems == []
    assert not [path for path in host.asked if "join" in path]


def a_pasted_address_opens(page: Tab, host: Served) -> None:
    page.tab_to("Or paste the address here")
    page.type("https://example.org/#nothing")
    page.press("Enter")
    page.waits_for("This is not an invitation.")
    page.tab_to("Or paste the address here")
    page.run("document.activeElement.value = ''")
    page.type(host.invitation())
    page.press("Enter")
    page.waits_for("What protects it")


def it_says_what_is_learned_and_refuses_an_open_run(page: Tab, host: Served, pictures: Path | None) -> None:
    for least, said in ((8, "each of at least 8 honest devices"), (0, "this phone will refuse that run")):
        host.about = about(least)
        page.open(f"{host.address}?{least}")
        page.waits_for("Help to learn to read digits")
        page.waits_for(said)
        page.waits_for(OFFERED)
        page.waits_for("You trust http://127.0.0.1")
        if least:
            page.look(pictures, "phone-consent")
        it_fits_and_reads(page)
    page.run("scrollTo(0, 0)")
    page.tab_to("Hidden in a sum (recommended)")
    page.press("ArrowDown")
    page.waits_for("which the server then sees")


def test_an_invitation_is_taken_out_of_the_address_and_stays_on_the_phone(host: Served) -> None:
    with browser(Tab) as page:
        page.open(host.invitation())
        page.waits_for("What leaves this phone")
        assert page.run("location.href") == host.address
        page.open(host.address)
        page.waits_for("What leaves this phone")
        page.click("No, forget this invitation")
        page.waits_for("Scan your invitation")
        page.open(host.invitation())
        page.waits_for("What leaves this phone")
        assert page.run("location.href") == host.address
        page.click("Agree and join")
        page.waits_for("Something went wrong")
        assert not [path for path in host.asked if "AAAA" in path]


def test_the_second_visit_costs_little_and_needs_no_network(host: Served) -> None:
    with browser(Tab) as page:
        page.open(host.address)
        page.waits_for("Scan your invitation")
        page.waits_for("Build ")
        assert 0 < host.sent < FIRST_VISIT
        host.sent = 0
        page.open(f"{host.address}?again")
        page.waits_for("Build ")
        assert host.sent < SECOND_VISIT
        host.close()
        page.open(f"{host.address}?away")
        page.waits_for("Scan your invitation")
        page.waits_for(json.loads((host.folder / "build.json").read_text())["hash"])
        assert page.problems == []


def with_another_build(host: Served, folder: Path, looked_at: Callable[[Tab, Served], None]) -> None:
    """Look at a page of one build while its host gives out another.

    Chromium 150 crashes now and then while a service worker is replaced; then it is begun again.
    """
    first = host.folder
    for attempt in range(4):
        host.folder = first
        try:
            with browser(Tab) as page:
                page.open(host.address)
                page.waits_for("Build ")
                host.folder = another_build(first, folder / f"another-{attempt}")
                looked_at(page, host)
                return
        except Crashed:
            if attempt == 3:
                raise


def test_an_old_page_is_told_of_a_new_one_and_becomes_it_whole(host: Served, tmp_path: Path) -> None:
    def looked_at(page: Tab, host: Served) -> None:
        newer = json.loads((host.folder / "build.json").read_text())["hash"]
        page.open(f"{host.address}?again")
        page.waits_for("A newer version of this page lies ready.")
        assert newer not in page.run("document.body.innerText")
        page.click("Reload now")
        page.waits_for(newer)
        assert page.problems == []

    with_another_build(host, tmp_path, looked_at)


def test_a_file_of_another_build_is_never_mixed_in(host: Served, tmp_path: Path) -> None:
    before = json.loads((host.folder / "build.json").read_text())["hash"]

    def looked_at(page: Tab, host: Served) -> None:
        (host.folder / "icon.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        page.open(f"{host.address}?again")
        page.waits_for(before)
        page.later("navigator.serviceWorker.ready.then((r) => r.update().catch(() => 0))")
        page.wait("navigator.serviceWorker.controller !== null")
        states = "navigator.serviceWorker.getRegistration().then((r) => !r.installing && !r.waiting)"
        while not page.later(states):
            pass
        assert not page.run("!newer.hidden")

    with_another_build(host, tmp_path, looked_at)


def test_without_a_certificate_the_page_says_what_is_missing(host: Served) -> None:
    away = host.address.replace("127.0.0.1", "phones.test")
    with browser(Tab, "host-resolver-rules=MAP phones.test 127.0.0.1") as page:
        page.open(away)
        page.waits_for("has no certificate that this browser trusts")
