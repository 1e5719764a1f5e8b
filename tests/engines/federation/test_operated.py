"""What an operator sees of a federation, and does with it: one of three devices for all tests here."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hedgerow.coordinator.metrics import TOKEN
from tests.engines.federation.browser import Browser, browser
from tests.engines.federation.coordinated import Coordinated, coordinated
from tests.engines.federation.operated import RECIPE, DeviceProcess, OwnDevice, csv, page_address
from tests.engines.federation.processes import _free_ports
from tests.engines.federation.receiver import Receiver, receiver

LOST_AFTER = "8"  # seconds; by default 20
PHONE, DESK = (390, 844), (1100, 900)
TEXTS = """[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility()
    && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))"""


@pytest.fixture(scope="module")
def traces() -> Iterator[Receiver]:
    """What the operator's OTLP endpoint gets."""
    with receiver() as taking, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", taking.address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield taking


@pytest.fixture(scope="module")
def real(traces: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinated]:
    home = tmp_path_factory.mktemp("operated")
    recipe = home / "clinics.toml"
    recipe.write_text(RECIPE)
    options = ["--lost-after", LOST_AFTER]
    with coordinated(home, str(recipe), options, _free_ports(1)[0]) as running:
        running.start()
        running.wait_until_it_serves()
        yield running


@pytest.fixture(scope="module")
def devices(real: Coordinated) -> Iterator[dict[str, OwnDevice]]:
    """Two in threads, and one as a process; they have not come yet."""
    kinds = {"garage": OwnDevice, "kitchen": OwnDevice, "shed": DeviceProcess}
    made = {
        name: kind(real, name, csv(real.home / f"{name}.csv", seed))
        for seed, (name, kind) in enumerate(kinds.items())
    }
    yield made
    for device in made.values():
        device.end()


def test_the_status_page_is_live_and_shows_a_lost_device_and_fits_a_phone(real, devices):
    with browser() as page:
        page.size(*DESK)
        page.open(page_address(real))
        page.run("window.notLoadedAgain = true")
        page.wait("health.textContent === '3 of 3 devices are waited for' && health.className === 'waits'")
        for device in devices.values():
            device.start()
        page.wait("parseInt(round.textContent) >= 3", 300)
        page.wait("health.textContent.startsWith('all is well: 3 devices online')", 60)
        for shown in ("accuracy on 3 devices", "worst tenth", "from devices", "trusted on first use"):
            assert shown in page.run("document.body.innerText")
        assert page.run("document.querySelectorAll('#devices tr.online').length") == 3
        pictures(page, "page")
        devices["shed"].end(signal.SIGKILL)
        page.wait("health.textContent === 'no word from shed' && health.className === 'bad'", 30)
        page.wait("dropped.textContent.includes('shed: it did not reply in time')", 60)
        it_fits_a_phone(page)
        pictures(page, "lost")
        devices["shed"].start()
        page.wait("document.querySelectorAll('#devices tr.online').length === 3", 120)
        assert page.run("window.notLoadedAgain") is True
        assert page.problems == []


def metrics(real: Coordinated, key: str) -> str:
    address = page_address(real).partition("/?")[0]
    request = urllib.request.Request(f"{address}/metrics", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(reply.read().decode())


def test_prometheus_reads_totals_and_no_devices_name_with_the_key_alone(real, devices):
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        metrics(real, "no-key")
    refused.value.close()
    text = metrics(real, (real.folder.path / TOKEN).read_text())
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    lines = real.run.rounds()[: int(found["hedgerow_rounds_total", "counted"])]
    assert len(lines) >= 3
    for way in ("up", "down"):
        assert found["hedgerow_bytes_total", way] == sum(line[f"bytes_{way}"] for line in lines)
    assert found["hedgerow_drops_total", "late"] == sum(len(line["dropped"]) for line in lines) >= 1
    assert found["hedgerow_devices", "online"] == 3
    stages = {key[1]: value for key, value in found.items() if key[0] == "hedgerow_stage_seconds_total"}
    assert {"waiting", "aggregate", "save"} <= set(stages)
    assert sum(stages.values()) >= 0.9 * found["hedgerow_round_seconds_total",]
    assert found["hedgerow_certificate_seconds",] > 300 * 86400
    assert not [name for name in devices if name in text]


def test_a_trace_of_each_round_goes_to_the_operators_endpoint_and_names_no_device(real, devices, traces):
    real.wait(lambda: sum(span.name == "round" for span in traces.spans()) >= 2, "traces")
    spans = traces.spans()
    rounds = {span.span_id: span for span in spans if span.name == "round"}
    below = [span for span in spans if span.parent_span_id in rounds]
    assert {"aggregate", "records"} <= {span.name for span in below}
    for span in below:
        parent = rounds[span.parent_span_id]
        assert parent.trace_id == span.trace_id
        assert parent.start_time_unix_nano <= span.start_time_unix_nano
        assert span.end_time_unix_nano <= parent.end_time_unix_nano
    for span in rounds.values():
        about = {each.key: each.value.int_value for each in span.attributes}
        assert about["hedgerow.asked"] == 3
        assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 3600
    sent = b"".join(traces.bodies)
    assert not [name for name in devices if name.encode() in sent]


def test_without_an_endpoint_nothing_of_opentelemetry_is_even_loaded(tmp_path):
    program = (
        "import sys; from pathlib import Path; from hedgerow.experiments.runs.store import RunFolder;"
        "from hedgerow.experiments.runs.traced import traced\n"
        "with traced(RunFolder(Path())): print([m for m in sys.modules if 'opentelemetry' in m])"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def it_fits_a_phone(page: Browser) -> None:
    """No part is wider than the screen, and no text is small or has the colour of its ground."""
    page.size(*PHONE)
    assert page.run("document.documentElement.scrollWidth") == PHONE[0]
    assert page.run(f"{TEXTS}.length") > 30
    assert page.run(f"Math.min(...{TEXTS}.map((e) => parseFloat(getComputedStyle(e).fontSize)))") >= 12
    right = page.run(f"Math.max(...{TEXTS}.map((e) => e.getBoundingClientRect().right))")
    assert right <= PHONE[0]
    page.size(*DESK)


def pictures(page: Browser, name: str) -> None:
    """Kept where HEDGEROW_PICTURES names a folder, for the README."""
    folder = os.environ.get("HEDGEROW_PICTURES")
    if folder:
        page.picture(Path(folder) / f"{name}.png", whole=True)
        page.size(*PHONE)
        page.picture(Path(folder) / f"{name}-phone.png", whole=True)
        page.size(*DESK)
