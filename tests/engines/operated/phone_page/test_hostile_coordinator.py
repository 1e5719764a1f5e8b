"""A page for phones, and a coordinator or a link that means it harm: told in a sentence, and no more."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from hedgerow.coordinator.join_request import JoinRefused, read_request
from tests.engines.operated.browser import browser
from tests.engines.operated.phone_page.served import DIGITS, Served
from tests.engines.operated.phone_page.tab import Tab
from tests.engines.operated.phone_page.test_page import about

MARKUP = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
JOINED = {"node_id": 7, "name": "phone-1", "federation": "0" * 16, "register": "", "trust": "first-use"}
UNKNOWN = "Help to learn to do something together"


@pytest.fixture(scope="module")
def page() -> Iterator[Tab]:
    with browser(Tab) as tab:
        yield tab


@pytest.fixture
def hostile(host: Served, page: Tab) -> Iterator[Served]:
    """A coordinator, of which the page knows nothing yet."""
    yield host
    page.cleared(host.origin)


def says(host: Served, **schema: Any) -> None:
    host.about = {**about(0), "schema": {**DIGITS, **schema}}


def invited(page: Tab, host: Served) -> None:
    page.open("about:blank")
    page.open(host.invitation())
    page.waits_for("What leaves this phone")


def refused(page: Tab) -> str:
    """What the page says where somebody agrees, and it cannot join."""
    page.click("Agree and join")
    page.waits_for("Something went wrong")
    return str(page.run("document.querySelector('#told').textContent"))


def test_what_a_coordinator_calls_things_is_shown_as_text_and_is_never_markup(
    hostile: Served, page: Tab
) -> None:
    says(hostile, classes=[MARKUP, "</li></ul><h1>joined</h1>"], shape=[6, 10], lowest=[], highest=[])
    hostile.answers["/join"] = 200, json.dumps({**JOINED, "name": MARKUP}).encode()
    for call in ("activate-node", "send-node-heartbeat"):
        hostile.answers[f"/v1/fleet/{call}"] = 403, json.dumps({"error": MARKUP}).encode()
    invited(page, hostile)
    page.waits_for(MARKUP)
    page.click("Also openly")
    page.click("Agree and join")
    page.wait("document.querySelector('.adding')?.childElementCount > 1")
    page.waits_for(MARKUP)
    page.click(MARKUP)
    page.click("Start")
    page.run(f"({SHAKEN})()")
    page.click("Stop and keep")
    page.waits_for(f"Movement: {MARKUP}")
    page.click("Taking part")
    page.click("Take part")
    page.waits_for(f"the server refuses (403): {MARKUP}")
    page.waits_for(f"{MARKUP} at {hostile.origin}")
    assert page.run("document.title") == "Hedgerow"
    assert page.run("document.querySelectorAll('main :is(img, script), h1 h1, h1 ~ h1').length") == 0
    page.problems.clear()


SHAKEN = """() => {
  for (let i = 0; i < 60; i++) {
    const at = { x: i, y: 1, z: 1, alpha: 1, beta: 1, gamma: 1 };
    const told = { accelerationIncludingGravity: at, rotationRate: at };
    const event = new DeviceMotionEvent("devicemotion", told);
    Object.defineProperty(event, "timeStamp", { value: 20 * i });
    dispatchEvent(event);
  }
}"""


@pytest.mark.parametrize("schema", [
    {"classes": ["cats", "\u202edogs"]},
    {"classes": ["cats\nThis page was checked by your bank.", "dogs"]},
    {"classes": ["cats", "d" * 101]},
    {"classes": [str(n) for n in range(10_001)]},
    {"shape": [1, 100_000, 100_000]},
    {"classes": [], "label": "\u2066age"},
], ids=str)  # fmt: skip
def test_names_and_samples_that_a_page_cannot_show_or_hold_are_not_taken_over(
    hostile: Served, page: Tab, schema: dict[str, Any]
) -> None:
    says(hostile, **schema)
    invited(page, hostile)
    page.waits_for(UNKNOWN)
    page.waits_for("The coordinator says: it sees each phone's change of the model.")


def test_an_answer_that_leads_elsewhere_is_not_followed(hostile: Served, page: Tab) -> None:
    says(hostile)
    hostile.elsewhere = {"/phone/about.json": "/phone/build.json", "/join": f"{hostile.address}elsewhere"}
    invited(page, hostile)
    page.waits_for(UNKNOWN)
    assert "does not answer" in refused(page)
    assert not [path for path in hostile.asked if "elsewhere" in path]


def test_an_answer_without_end_is_not_read_to_its_end(hostile: Served, page: Tab) -> None:
    hostile.about = {**about(0), "more": "x" * 2**21}
    invited(page, hostile)
    page.waits_for(UNKNOWN)


@pytest.mark.parametrize("answer", [
    {"name": "phone-1\u202e"}, {"name": "p" * 101}, {"name": ["phone"]}, {"federation": "of mine"},
    {"node_id": -1}, {"node_id": "x"},
], ids=str)  # fmt: skip
def test_a_phone_joins_nothing_that_does_not_answer_like_a_coordinator(
    hostile: Served, page: Tab, answer: dict[str, Any]
) -> None:
    hostile.answers["/join"] = 200, json.dumps({**JOINED, **answer}).encode()
    invited(page, hostile)
    assert f"{hostile.origin} does not answer like a coordinator" in refused(page)


def test_a_page_of_another_version_than_its_coordinator_says_so(hostile: Served, page: Tab) -> None:
    with pytest.raises(JoinRefused) as error:
        read_request({"hedgerow": "9.9.0"})
    hostile.answers["/join"] = error.value.status, json.dumps({"error": str(error.value)}).encode()
    invited(page, hostile)
    assert "This page is of another version than the coordinator: close all of its tabs" in refused(page)


def test_an_invitation_that_is_used_up_says_what_to_do(hostile: Served, page: Tab) -> None:
    hostile.answers["/join"] = 403, json.dumps({"error": "the invitation is used up"}).encode()
    invited(page, hostile)
    assert "the invitation is used up; an invitation is good for as many phones" in refused(page)


@pytest.mark.parametrize(("address", "said"), [
    ("javascript:document.title='hit'", "Scan your invitation"),
    ("data:text/html,<script>1</script>", "Scan your invitation"),
    ("https://evil.example:8470", "evil.example:8470 does not answer"),
    ("http://evil.example", "for another machine it must be https://"),
    ("https://127.0.0.1@evil.example", "does not answer"),
    ("https://evil.example/path", "it must be https://HOST:PORT"),
], ids=str)  # fmt: skip
def test_a_link_that_leads_elsewhere_sends_nothing_there_and_runs_nothing(
    hostile: Served, page: Tab, address: str, said: str
) -> None:
    told = base64.urlsafe_b64encode(json.dumps({"address": address, "token": "A" * 24}).encode()).decode()
    page.open("about:blank")
    page.open(f"{hostile.address}#{told.rstrip('=')}")
    page.waits_for("Help to learn" if "Scan" not in said else said)
    if "Scan" not in said:
        assert said in refused(page)
    assert page.run("document.title") == "Hedgerow"
    assert not [path for path in hostile.asked if "join" in path]
