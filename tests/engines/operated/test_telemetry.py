"""What leaves for the operator's own monitoring: totals over devices, and no device's name."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hedgerow.coordinator.metrics import TOKEN
from tests.engines.federation.coordinated import Coordinated
from tests.engines.operated.devices import page_address


def metrics(real: Coordinated, key: str) -> str:
    address = page_address(real).partition("/?")[0]
    request = urllib.request.Request(f"{address}/metrics", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(reply.read().decode())


def test_prometheus_reads_totals_and_no_devices_name_with_the_key_alone(real, devices):
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        metrics(real, "no-key")
    refused.value.close()
    real.wait(lambda: real.rounds() >= 3, "three rounds", 300)
    text = metrics(real, (real.folder.path / TOKEN).read_text())
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    ended = sum(found["hedgerow_rounds_total", outcome] for outcome in ("counted", "failed"))
    lines = real.run.rounds()[: int(ended)]
    assert len(lines) >= 3
    for way in ("up", "down"):
        assert found["hedgerow_bytes_total", way] == sum(line[f"bytes_{way}"] for line in lines)
    assert found["hedgerow_drops_total", "late"] == sum(
        "in time" in why for line in lines for why in line["dropped"].values()
    )
    assert sum(found["hedgerow_devices", state] for state in ("online", "away", "invited")) == 3
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
        assert about["hedgerow.asked"] <= 3
        assert {"hedgerow.round", "hedgerow.dropped", "hedgerow.bytes_up", "hedgerow.bytes_down"} <= set(
            about
        )
        assert abs(span.end_time_unix_nano / 1e9 - time.time()) < 3600
    sent = b"".join(traces.bodies)
    assert not [name for name in devices if name.encode() in sent]


def test_without_an_endpoint_nothing_of_opentelemetry_is_even_loaded(tmp_path):
    program = (
        "import sys; from hedgerow.experiments.runs.traced import traced\n"
        "with traced(None): print([m for m in sys.modules if 'opentelemetry' in m])"
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
