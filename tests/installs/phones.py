"""Phones in a federation: pages in Chromium, which has the federation's CA in its certificate store."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from hedgerow.coordinator.phone_build import NoBuild, build_folder, load
from tests.engines.federation.coordinated import Coordinated
from tests.engines.operated.browser import browser
from tests.engines.operated.phone_page.tab import Tab
from tests.installs.mixed import EXACT, MASKED, RUNS, Runs

NAMES = ("phone-1", "phone-2")
PRIVATE = "private and masked"
DEVICES = 4
PHONES: Runs = {
    run: [*chosen, f"strategy.clients_per_round={DEVICES}"]
    for run, chosen in {
        EXACT: RUNS[EXACT],
        "8 bits": RUNS["8 bits"],
        "top 1 %": RUNS["top 1 %"],
        MASKED: RUNS[MASKED],
        PRIVATE: ["strategy.name=secure_dp_fedavg", *RUNS[MASKED][1:], f"strategy.population={DEVICES}",
                  "strategy.delta=1e-3", "strategy.noise_multiplier=1.0", "strategy.clip_norm=1.0"],
    }.items()
}  # fmt: skip

_EXPECTED = "ERR_CONNECTION_REFUSED"  # between two runs no coordinator is there


def why_not() -> str:
    """Why no phone can be had here; empty if one can."""
    if shutil.which("certutil") is None:
        return "there is no certutil: make certutil"
    return why_there_is_no_page()


def why_there_is_no_page() -> str:
    """Why there is no page for phones; empty if there is one."""
    try:
        load(build_folder())
    except NoBuild as error:
        return str(error)
    return ""


class PhoneTab(Tab):
    """A page on a phone: small, for fingers, by the name of a phone's browser."""

    def __init__(self, write: int, read: int) -> None:
        super().__init__(write, read)
        self.size(390, 844)
        self._call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=5)
        agent = self.run("navigator.userAgent").replace("X11; Linux x86_64", "Linux; Android 10; K")
        self._call(
            "Emulation.setUserAgentOverride",
            userAgent=agent.replace("Safari", "Mobile Safari"),
            platform="Android",
        )
        self._call("Network.disable")  # nobody reads of it while a run goes on


def trusting(ca: Path, home: Path) -> Mapping[str, str]:
    """The environment of a browser whose certificate store has this CA, beside those that it comes with."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "federation", "-i", str(ca)]):
        subprocess.run(["certutil", "-d", f"sql:{store}", *arguments], check=True, capture_output=True)
    return {**os.environ, "HOME": str(home)}


class InBrowser:
    """A phone that joins by the code that `hedgerow up` shows, and takes part in the clear too."""

    kind = "a page in Chromium"

    @contextmanager
    def joined(self, real: Coordinated, name: str) -> Iterator[PhoneTab]:
        """Join as a person does, with the file of this name; phones join one after another."""
        code = r"https://\S+/phone/#\S+"
        real.wait(lambda: re.search(code, real.said), "the code for phones")
        address = re.findall(code, real.said)[-1]
        home = real.home / f"browser-{name}"
        with browser(PhoneTab, variables=trusting(real.folder.path / "ca.pem", home)) as page:
            page.open(address)
            page.waits_for("Help to learn to tell no, yes apart")
            page.click("Also openly")
            page.click("Agree and join")
            page.wait("document.querySelector('input[type=file]') !== null")
            page.pick(real.home / f"{name}.csv")
            page.waits_for(f"{name}.csv")
            page.click("Taking part")
            page.waits_for(name)
            page.click("Take part")
            yield page
            page.run("0")  # what it has told meanwhile
            assert [each for each in page.problems if _EXPECTED not in each] == []


def skip_without() -> None:
    """Skip a test where there is no phone."""
    if why := why_not():
        pytest.skip(f"NO PHONES: they took NO part in a federation: {why}")
