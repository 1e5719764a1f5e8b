"""What an operator is told who lets phones in: the page, the certificate, the run, the code; mistakes."""

import datetime
import hashlib
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from hedgerow.coordinator import phone_build
from hedgerow.coordinator.certificates import Certificate, check_given
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.members import join, load_members
from hedgerow.coordinator.phone_build import NoBuild, build_folder, hash_of, load
from hedgerow.coordinator.phones import PATH, invite_phones, load_phones
from hedgerow.experiments.cli.main import app
from hedgerow.experiments.cli.phones import Asked, opened_for_phones
from hedgerow.experiments.config.recipe import load as load_recipe
from hedgerow.experiments.config.schema import Experiment
from hedgerow.experiments.report.for_phones import about, sentence
from hedgerow.experiments.runs.graphs import remember_offer
from hedgerow.graphs.offer import Offer
from tests.attacks.gateways import public
from tests.engines.federation.devices import RECIPE
from tests.phone_pages import FILES, SCRIPT, write_page

OFFER = Offer("ab" * 32, 4321)
CLINICS = RECIPE.replace("ten-lines", "loop")


def hedgerow(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
    built = write_page(tmp_path / "dist")
    monkeypatch.setattr(phone_build, "build_folder", lambda: built)
    return built


@pytest.fixture
def folder(tmp_path, monkeypatch) -> FederationFolder:
    monkeypatch.chdir(tmp_path)
    Path("clinics.toml").write_text(CLINICS)
    return FederationFolder.make(tmp_path / "federation")


@pytest.fixture
def experiment(folder) -> Experiment:
    return load_recipe("clinics.toml")


@pytest.fixture
def run(tmp_path) -> Path:
    """A run's folder that offers graphs."""
    (tmp_path / "run").mkdir()
    remember_offer(tmp_path / "run", OFFER)
    return tmp_path / "run"


def test_without_a_page_up_stops_at_once_and_says_what_makes_one(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(phone_build, "__file__", str(tmp_path / "site" / "hedgerow" / "coordinator" / "x.py"))
    said = hedgerow("up", "clinics.toml", "--phones", "3", "--graphs", "graphs", code=1)
    assert "build it in a copy of the sources with 'make web'" in " ".join(said.split())
    assert not (folder.path / "processes.json").exists()
    assert "make web" in hedgerow("phones-page", code=1)


def test_the_page_lies_in_the_package_or_in_the_sources_beside_it(monkeypatch, tmp_path):
    package = tmp_path / "hedgerow" / "coordinator"
    monkeypatch.setattr(phone_build, "__file__", str(package / "phone_build.py"))
    sources = write_page(tmp_path / "web" / "dist")
    assert build_folder() == sources
    installed = write_page(package / "phone")
    assert build_folder() == installed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda page: (page / "sw.js").write_bytes(b"changed"), "has been changed"),
        (lambda page: (page / "sw.js").unlink(), "has been changed"),
        (lambda page: (page / "more.js").touch(), "has been changed"),
        (lambda page: (page / "build.json").unlink(), "cannot be read"),
        (lambda page: (page / "build.json").write_text("[]"), "cannot be read"),
        (lambda page: (page / "run.exe").touch(), "is of no kind"),
        (lambda page: (page / ".hidden.js").touch(), "cannot belong to the page"),
        (lambda page: (page / "link.js").symlink_to(page / "sw.js"), "cannot belong to the page"),
        (lambda page: (page / "assets/main-Cw4l5Ije.js.gz").write_bytes(b"x"), "make web"),
    ],
)
def test_a_page_that_is_not_as_it_was_built_is_refused(page, change, says):
    assert load(page).hash == hash_of(page)
    change(page)
    with pytest.raises(NoBuild, match=says) as caught:
        load(page)
    assert "make web" in str(caught.value)


def test_the_hash_of_a_build_is_what_sha256sum_says_of_its_files(page):
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(FILES.items())]
    assert hash_of(page) == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["heart", "--graphs", "graphs"], "data.name is 'heart-disease'; for phones it must be 'own'"),
        (["clinics.toml"], "phones train by graphs; give --graphs FOLDER"),
        (["clinics.toml", "--phones-origin", "http://a.example"], "it must be like https://pages.example"),
        (["clinics.toml", "--phones-origin", "*"], "it must be like https://pages.example"),
    ],
)
def test_a_run_in_which_phones_can_take_no_part_is_refused_before_it_starts(folder, page, arguments, says):
    said = " ".join(hedgerow("up", *arguments, "--phones", "3", code=2).split())
    assert says in said
    assert not (folder.path / "processes.json").exists()
    assert load_phones(folder) is None


def test_the_operator_is_told_the_page_the_run_the_certificate_and_how_long_the_code_is_good(
    folder, page, experiment, run
):
    opened = opened_for_phones(folder, experiment, run, Asked(3, hours=2.0))
    built, sentence, trust, ends = opened.lines
    assert built == f"page for phones: build {hash_of(page)}"
    assert sentence.startswith(
        "phones learn to tell no, yes apart by age, pressure, in 3 rounds of 'clinics';"
    )
    assert str(folder.path / "ca.pem") in trust
    assert "--certificate and --key" in trust
    assert ends.startswith("3 phones can join until ")
    assert opened.address.startswith(f"{folder.settings.address}{PATH}#")
    found = load_phones(folder)
    assert found is not None
    assert (found.build, found.about["said_by"], found.about["graphs"]["hash"]) == (
        hash_of(page), "coordinator", OFFER.hash,
    )  # fmt: skip


def test_the_page_on_phones_shows_what_is_said_of_its_recipe(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "phones.md").read_text()
    (shown,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "digits.toml").write_text(shown)
    said = sentence(about(load_recipe(str(tmp_path / "digits.toml")), OFFER, "0" * 64))
    assert said in " ".join(page.split())


def joined(folder: FederationFolder, token: str) -> None:
    key = public(ec.generate_private_key(ec.SECP384R1()))
    join(folder, {"hedgerow": "0.1.0", "token": token, "node_key": key}, lambda key, name: 7)


def test_up_lets_so_many_in_in_all_and_invite_so_many_more(folder, page, experiment, run):
    token = invite_phones(folder, 2)
    joined(folder, token)
    joined(folder, token)
    opened_for_phones(folder, experiment, run, Asked(3))
    assert load_members(folder).places == 1
    opened = opened_for_phones(folder, experiment, run, Asked(2))
    assert (load_members(folder).places, opened.address) == (0, "")
    assert opened.lines[-1] == "2 phones have joined, and no more may: hedgerow invite --phones N"
    folder.write("job.json", {"run": str(run)})
    (run / "config.toml").write_text(CLINICS)
    assert "#" in hedgerow("invite", "--phones", "3")
    assert load_members(folder).places == 3


def test_a_later_run_without_phones_serves_the_page_of_before_and_says_nothing_of_itself(
    folder, page, experiment, run, tmp_path
):
    assert opened_for_phones(folder, experiment, run, Asked()).lines == ()
    opened_for_phones(folder, experiment, run, Asked(3, origins=["https://pages.example"]))
    (tmp_path / "other").mkdir()
    opened = opened_for_phones(folder, experiment, tmp_path / "other", Asked())
    assert opened.lines == [f"page for phones: build {hash_of(page)}"]
    found = load_phones(folder)
    assert found is not None
    assert (found.pages, found.about) == (("https://pages.example/",), {})


def test_a_code_leads_to_the_page_elsewhere(folder, page, experiment, run):
    opened = opened_for_phones(folder, experiment, run, Asked(1, origins=["https://pages.example/x/"]))
    assert opened.address.startswith("https://pages.example/x/#")


@pytest.mark.parametrize("arguments", [[], ["kitchen", "--phones", "3"]])
def test_invite_takes_names_or_phones(folder, arguments):
    assert "and not both" in hedgerow("invite", *arguments, code=2)
    assert "and not both" in hedgerow("revoke", *(["kitchen", "--phones"] if arguments else []), code=2)


def test_without_a_run_no_phone_is_invited(folder, page):
    assert "hedgerow up RECIPE --phones N" in hedgerow("invite", "--phones", "3", code=2)


def test_an_invitation_of_phones_is_revoked_and_shown(folder, page):
    assert "no phones are invited" in hedgerow("revoke", "--phones", code=2)
    joined(folder, invite_phones(folder, 3))
    assert "phones: 1 joined, 2 more can until" in hedgerow("status")
    assert "phone-1" in hedgerow("devices")
    assert "still lets 2 in" in " ".join(hedgerow("revoke", "phone-1").split())
    hedgerow("revoke", "--phones")
    assert "phones:" not in hedgerow("status")


def test_the_page_is_copied_for_another_server_with_its_headers(folder, page, tmp_path):
    assert str(page) in hedgerow("phones-page").replace("\n", "")
    assert "--coordinator is missing" in hedgerow("phones-page", "--out", "site", code=2)
    assert "https://pages.example" in hedgerow("phones-page", "--out", "site", "--coordinator", "x", code=2)
    said = hedgerow("phones-page", "--out", "site", "--coordinator", "https://fl.example:8470")
    assert hash_of(tmp_path / "site") == hash_of(page)
    assert "connect-src 'self' https://fl.example:8470;" in said
    assert "is not empty" in hedgerow(
        "phones-page", "--out", "site", "--coordinator", "https://fl.example", code=2
    )


def certificate(place: Path, *names: str, days: tuple[int, int] = (-1, 30), fits: bool = True) -> Certificate:
    """A certificate that somebody else has signed, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some CA")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), False)
    signer = ec.generate_private_key(ec.SECP256R1())
    shown = key if fits else signer
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (place / "tls.key").write_bytes(shown.private_bytes(*form))
    (place / "tls.pem").write_bytes(
        made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return Certificate(place / "tls.pem", place / "tls.key")


@pytest.mark.parametrize(
    ("given", "host", "says"),
    [
        ({"names": ["fl.example"], "fits": False}, "fl.example", "cannot be used"),
        ({"names": ["fl.example"], "days": (-30, -1)}, "fl.example", "expired on"),
        ({"names": ["fl.example"], "days": (1, 30)}, "fl.example", "is this machine's clock right"),
        (
            {"names": ["fl.example"]},
            "other.example",
            "names fl.example, and devices reach this machine at other",
        ),
        ({"names": ["fl.example"]}, "192.168.1.10", "names fl.example"),
        ({"names": []}, "fl.example", "names no host"),
        ({"names": ["*.example"]}, "a.fl.example", "names \\*.example"),
        ({"names": ["*.example"]}, "example", "names \\*.example"),
        ({"names": ["*.1.10"]}, "192.168.1.10", "names"),
    ],
)
def test_a_certificate_that_browsers_would_not_take_is_refused(tmp_path, given, host, says):
    names = given.pop("names")
    with pytest.raises(FederationError, match=says):
        check_given(certificate(tmp_path, *names, **given), host)


@pytest.mark.parametrize(
    ("names", "host"), [(["fl.example"], "FL.example"), (["a.b", "*.example"], "fl.example")]
)
def test_a_certificate_that_names_the_host_is_taken(tmp_path, names, host):
    check_given(certificate(tmp_path, *names), host)


def test_up_refuses_a_certificate_for_another_host_and_keeps_the_one_of_before(folder, page, tmp_path):
    given = certificate(tmp_path, "fl.example")
    options = ["--certificate", str(given.certificate), "--key", str(given.key)]
    said = hedgerow("up", "clinics.toml", "--host", "other.example", *options, code=2)
    assert "give --host one of its names" in " ".join(said.split())
    assert folder.settings.own_ca
    assert folder.settings.host == "127.0.0.1"


def test_a_page_of_which_large_files_are_there_compressed_alone_has_the_same_hash(page):
    whole = load(page)
    (page / SCRIPT).unlink()
    (page / f"{SCRIPT}.br").unlink()
    spared = load(page)
    assert spared.hash == whole.hash == hash_of(page)
    assert spared.assets[SCRIPT].bodies == {
        key: body for key, body in whole.assets[SCRIPT].bodies.items() if key != "br"
    }
