"""Nothing of what a phone's owner has added, nor of its keys, is sent, or on the coordinator's side."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.processes import _free_ports
from tests.engines.operated.browser import browser
from tests.engines.operated.canaries import of_secret, of_text, seen
from tests.engines.operated.phone_page import owner
from tests.engines.operated.phone_page.keys import KeyTab
from tests.engines.operated.phone_page.line import at_port
from tests.engines.operated.proxy import Proxy, proxy
from tests.engines.operated.test_canaries import files, processes
from tests.installs.phones import skip_without, trusting

RECIPE = """
name = "{name}"
rounds = 2
[data]
name = "own"
{data}
[model]
name = "logistic"
[strategy]
name = "fedavg"
clients_per_round = 1
[server]
min_clients = 1
deadline = 60.0
"""
GIVEN = {"clinics": owner.clinics, "digits": owner.digits, "moves": owner.moves}


@dataclass
class Looked:
    """Three runs of a federation, each with a phone whose owner has added what that run learns from.

    Attributes:
        real: the federation.
        forms: of what each owner has added, by the run.
        kept: all that the browser keeps of that.
        secrets: of each phone's keys.
        sent: what the phones have sent, as it was before TLS.
    """

    real: Coordinated
    forms: dict[str, owner.Forms] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    sent: bytes = b""


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    skip_without()
    home = tmp_path_factory.mktemp("phones")
    with coordinated(home, "", [], _free_ports(1)[0]) as real, ExitStack() as until:
        found = Looked(real)
        for name in GIVEN:
            (home / f"{name}.toml").write_text(RECIPE.format(name=name, data=owner.DATA[name]))
            real.command("export", f"{name}.toml", "--out", f"graphs-{name}")
        invite = ["--phones", str(len(GIVEN))]
        for place, name in enumerate(GIVEN, start=1):
            real.recipe, real.overrides = f"{name}.toml", ["--graphs", f"graphs-{name}", *invite]
            real.start()
            real.wait(lambda place=place: real.said.count("devices reach it at") == place, "start")
            if invite:
                real.wait(lambda: re.search(r"/phone/#", real.said), "the code for phones")
                between, invite = until.enter_context(proxy(real.folder, real.port)), []
            taken_part(found, name, between)
        found.sent = b"".join(between.sent)
        yield found


def taken_part(found: Looked, name: str, between: Proxy) -> None:
    """A phone joins through the proxy; its owner adds data, and it takes part until the run has ended."""
    real = found.real
    code = re.findall(r"https://\S+/phone/#\S+", real.said)[0]
    home = real.home / f"browser-{name}"
    with browser(KeyTab, variables=trusting(real.folder.path / "ca.pem", home)) as page:
        page.size(390, 844)
        page.open(at_port(code, int(between.address.rpartition(":")[2])))
        page.waits_for("this phone will refuse that run")
        page.click("Also openly")
        page.click("Agree and join")
        page.wait("document.querySelector('.adding')?.childElementCount > 1")
        found.forms[name] = GIVEN[name](page, real.home)
        page.click("Taking part")
        page.click("Take part")
        real.wait_for_the_end(300)
        found.kept[name] = b"".join(owner.kept(page))
        found.secrets |= {f"{name}: {secret}": value for secret, value in page.secrets().items()}
    real.run.path.rename(real.home / f"run-{name}")


@pytest.mark.parametrize("name", GIVEN)
def test_the_search_finds_what_an_owner_has_added_where_it_is_kept(looked: Looked, name: str) -> None:
    wanted = {
        "clinics": ["name of the data folder", "cell 0 as text", "cell 1 as text"],
        "digits": ["points of drawing 1", "name of picture 0", "file of picture 1"],
        "moves": [f"value 1 of channel {channel} as float64" for channel in owner.CHANNELS],
    }
    found = {each.partition(":")[0] for each in seen(looked.forms[name], [("kept", looked.kept[name])])}
    assert found >= set(wanted[name])


def test_the_keys_that_are_searched_for_are_those_of_the_phones(looked: Looked) -> None:
    identities = [value for name, value in looked.secrets.items() if "pkcs8" in name and len(value) == 32]
    assert len(identities) == len(GIVEN)
    for secret in identities:
        public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        assert public.hex().encode() in looked.sent
    assert len([value for value in looked.secrets.values() if len(value) == 48]) == len(GIVEN)


def test_no_canary_of_an_owners_data_leaves_a_phone(looked: Looked) -> None:
    real = looked.real
    forms = {f"{run}: {name}": form for run, all_ in looked.forms.items() for name, form in all_.items()}
    for name, secret in looked.secrets.items():
        forms |= of_secret(name, secret[:16])
    assert len(forms) > 800
    for expected in (b"/v1/fleet/push-messages", b"num-examples", b"/join", b"/phone/"):
        assert expected in looked.sent, "the proxy must have seen what the phones say"
    labels = {name: form for each in owner.CLASSES for name, form in of_text(f"label {each}", each).items()}
    assert list(seen(forms | labels, [("sent", looked.sent)])) == []
    for folder in ("federation", *(f"run-{name}" for name in GIVEN)):
        assert list(seen(forms, files(real.home / folder))) == []
    assert list(seen(forms, [("hedgerow up", real.said.encode())])) == []
    assert list(seen(forms, processes())) == []
