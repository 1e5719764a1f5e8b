"""The status page in a real browser: live, quick to tell of a lost device, and fit for a phone."""

import signal
from pathlib import Path

from hedgerow.server.replies import NO_REPLY
from tests.engines.operated.browser import Browser, browser
from tests.engines.operated.devices import page_address

PHONE, DESK = (390, 844), (1100, 900)
TEXTS = """[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))"""


def test_the_status_page_is_live_and_shows_a_lost_device_and_fits_a_phone(real, devices, pictures):
    with browser() as page:
        page.size(*DESK)
        page.open(page_address(real))
        page.run("window.notLoadedAgain = true")
        page.wait("parseInt(round.textContent) >= 1", 300)
        begun = page.run("parseInt(round.textContent)")
        page.wait(f"parseInt(round.textContent) >= {begun + 2}", 300)
        page.wait("health.textContent.startsWith('all is well: 3 devices online')", 60)
        for shown in ("accuracy on 3 devices", "worst tenth", "from devices", "trusted on first use"):
            assert shown in page.run("document.body.innerText")
        assert page.run("document.querySelectorAll('#devices tr.online').length") == 3
        look(page, pictures, "page")
        devices["shed"].end(signal.SIGKILL)
        try:
            it_shows_that_shed_is_lost(page)
            it_fits_a_phone(page)
            look(page, pictures, "lost")
        finally:  # the other tests' rounds need it too
            devices["shed"].start()
        page.wait("document.querySelectorAll('#devices tr.online').length === 3", 120)
        assert page.run("window.notLoadedAgain") is True
        assert page.problems == []


def it_shows_that_shed_is_lost(page: Browser) -> None:
    """At once that nothing is heard of it; and that it was dropped, once its round has ended.

    Its deadline ends that round, or Flower's own notice that the device is lost: whichever comes first. Where
    it was killed while it sent its reply, Flower's grid waits for the rest of that: three minutes.
    """
    page.wait("health.textContent === 'no word from shed' && health.className === 'bad'", 30)
    reasons = (NO_REPLY, "it cannot be reached: ")
    shown = " || ".join(f"dropped.textContent.includes('shed: {reason}')" for reason in reasons)
    page.wait(shown, 300)


def it_fits_a_phone(page: Browser) -> None:
    """No part is wider than the screen, and no text is small or has the colour of its ground."""
    page.size(*PHONE)
    assert page.run("document.documentElement.scrollWidth") == PHONE[0]
    assert page.run(f"{TEXTS}.length") > 30
    assert page.run(f"Math.min(...{TEXTS}.map((e) => parseFloat(getComputedStyle(e).fontSize)))") >= 12
    right = page.run(f"Math.max(...{TEXTS}.map((e) => e.getBoundingClientRect().right))")
    assert right <= PHONE[0]
    page.size(*DESK)


def look(page: Browser, folder: Path | None, name: str) -> None:
    """Keep pictures of the page, where they are wanted."""
    if folder is not None:
        page.picture(folder / f"{name}.png", whole=True)
        page.size(*PHONE)
        page.picture(folder / f"{name}-phone.png", whole=True)
        page.size(*DESK)
