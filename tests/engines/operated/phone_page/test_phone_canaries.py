"""Nothing that a phone's owner has added is in what its page sends, nor on the coordinator's side."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.browser import browser
from tests.engines.operated.canaries import Canaries, seen
from tests.engines.operated.devices import RECIPE, table
from tests.engines.operated.phone_page.line import at_port
from tests.engines.operated.proxy import Proxy, proxy
from tests.engines.operated.test_canaries import files, processes
from tests.installs.phones import PhoneTab, skip_without, trusting

ALONE = ["strategy.clients_per_round=1", "server.min_clients=1"]
HELD = """(async () => {
  const done = (asked) => new Promise((took) => { asked.onsuccess = () => took(asked.result); });
  const text = new TextDecoder(), raw = [Uint8Array, ArrayBuffer];
  const read = (_, v) => raw.some((kind) => v instanceof kind) ? text.decode(v) : v;
  const found = [];
  for (const { name } of await indexedDB.databases()) {
    const open = await done(indexedDB.open(name));
    for (const store of open.objectStoreNames) {
      found.push(JSON.stringify(await done(open.transaction(store).objectStore(store).getAll()), read));
    }
    open.close();
  }
  return found.join();
})()"""


@pytest.fixture
def canaries() -> Canaries:
    return Canaries(f"patients-{secrets.token_hex(8)}", secrets.SystemRandom())


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Coordinated]:
    skip_without()
    (tmp_path / "clinics.toml").write_text(RECIPE)
    with coordinated(tmp_path, "clinics.toml", ALONE, _free_ports(1)[0]) as made:
        made.command("export", "clinics.toml", *ALONE, "--out", "graphs")
        made.overrides = [*ALONE, "--graphs", "graphs", "--phones", "1"]
        made.start()
        made.wait(lambda: re.search(r"/phone/#", made.said), "the code for phones")
        yield made


def taken_part(page: PhoneTab, real: Coordinated, between: Proxy, file: Path) -> None:
    """Join through the proxy, with a file, and take part in two rounds."""
    code = re.findall(r"https://\S+/phone/#\S+", real.said)[-1]
    page.open(at_port(code, int(between.address.rpartition(":")[2])))
    page.waits_for("Help to learn to tell no, yes apart")
    page.click("Also openly")
    page.click("Agree and join")
    page.wait("document.querySelector('input[type=file]') !== null")
    page.pick(file)
    page.waits_for(file.name)
    page.click("Taking part")
    page.waits_for("phone-1")
    page.click("Take part")
    real.wait(lambda: real.rounds() >= 2, "two rounds", 300)


def test_no_canary_of_an_owners_data_leaves_a_phone(real, canaries, tmp_path):
    file = table(tmp_path / f"{canaries.folder}.csv", 0, canaries.row)
    home, forms = tmp_path / "browser", canaries.forms()
    with (
        proxy(real.folder, real.port) as between,
        browser(PhoneTab, variables=trusting(real.folder.path / "ca.pem", home)) as page,
    ):
        taken_part(page, real, between, file)
        held = page.later(HELD).encode()
        sent = b"".join(between.sent)
    for expected in (b"/v1/fleet/push-messages", b"num-examples", b"/join", b"/phone/"):
        assert expected in sent, "the proxy must have seen what the phone says"
    found = {each.partition(":")[0] for each in seen(forms, [("kept", held)])}
    assert {"name of the data folder", "cell 0 as text", "cell 1 as text"} <= found, (
        "the search finds what is there"
    )
    assert list(seen(forms, [("sent", sent)])) == []
    assert list(seen(forms, files(real.home / "federation"))) == []
    assert list(seen(forms, files(real.home / "run"))) == []
    assert list(seen(forms, [("hedgerow up", real.said.encode())])) == []
    assert list(seen(forms, processes())) == []
