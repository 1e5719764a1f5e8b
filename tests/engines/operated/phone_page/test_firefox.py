"""The page for phones in Firefox: it joins a real federation, learns, and leaves with nothing kept."""

import re

import pytest

from tests.engines.federation.coordinated import coordinated
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.devices import RECIPE, table
from tests.engines.operated.phone_page.firefox import firefox
from tests.installs.phones import skip_without

ALONE = ["strategy.clients_per_round=1", "server.min_clients=1"]


@pytest.mark.long
def test_firefox_joins_takes_part_and_leaves_with_nothing_kept(tmp_path, capsys):
    skip_without()
    (tmp_path / "clinics.toml").write_text(RECIPE)
    with coordinated(tmp_path, "clinics.toml", ALONE, _free_ports(1)[0]) as real:
        real.command("export", "clinics.toml", *ALONE, "--out", "graphs")
        real.overrides = [*ALONE, "--graphs", "graphs", "--phones", "1"]
        real.start()
        real.wait(lambda: re.search(r"/phone/#", real.said), "the code for phones")
        with firefox(tmp_path / "profile", real.folder.path / "ca.pem") as page:
            page.open(re.findall(r"https://\S+/phone/#\S+", real.said)[-1])
            page.waits_for("Help to learn to tell no, yes apart", 120)
            page.click("Also openly")
            page.click("Agree and join")
            page.wait("document.querySelector('input[type=file]') !== null", 120)
            page.pick(table(tmp_path / "patients.csv", 0, ("50", "120")))
            page.waits_for("patients.csv")
            page.click("Taking part")
            page.waits_for("phone-1")
            page.click("Take part")
            page.wait("document.querySelectorAll('tbody tr').length >= 3", 300)
            page.wait("document.querySelector('.figures').textContent.includes('%')", 120)  # its test part
            with capsys.disabled():
                print("", page.run("navigator.userAgent"), sep="\n")
            page.click("Leave")
            page.click("Leave and erase everything")
            page.click("Yes, erase")
            page.waits_for("Scan your invitation")
            assert page.later("indexedDB.databases().then((all) => all.length)") == 0
        assert {name for line in real.run.rounds() for name in line["clients"]} == {"phone-1"}
