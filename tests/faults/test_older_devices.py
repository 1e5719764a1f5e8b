"""What an older device, or the phone's page, does not speak is refused by name, and nothing else happens."""

import logging
import re
from pathlib import Path

import pytest

from hedgerow.client.discretion import ClientFailed
from hedgerow.recipe import strategy as recipe
from hedgerow.strategies import TRANSFORMS, fedavg, parse_pipeline
from tests.described_runs import OPEN, announced, asked, installed, joined, train
from tests.golden.make import PIPELINES, PYTHON

PAGE = Path(__file__).parents[2] / "web" / "src" / "strategies" / "pipeline" / "parse.ts"
NEW = ("eden(2)", "drive()", "error_feedback(ternary(0.01))", "entropy(quantize(8))", "subspace(0.1)")


@pytest.mark.parametrize("text", NEW)
def test_a_device_without_a_step_says_which_in_its_own_log_and_takes_part_in_other_runs(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = announced(strategy=fedavg(pipeline=parse_pipeline(text)))
    older = {
        name: target for name, target in TRANSFORMS._targets.items()
        if not target.partition(":")[0].endswith((".eden", ".ternary", ".entropy", ".subspace"))
    }  # fmt: skip
    assert len(older) == len(TRANSFORMS.names()) - 5
    with installed(), caplog.at_level(logging.ERROR, "hedgerow"):
        device = joined(tmp_path, OPEN)
        monkeypatch.setattr(TRANSFORMS, "_targets", older)
        with pytest.raises(ClientFailed):
            device.answer("train", "1", asked(run, train()))
        assert device._outbox.answer(device.answer("train", "1", asked(announced(), train()))) is not None
    assert re.search(r"there is no transform '(eden|drive|ternary|entropy|subspace)'", caplog.text)


def test_a_device_without_a_downlink_says_so_in_its_own_log_and_takes_part_in_other_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = announced(strategy=fedavg(downlink=parse_pipeline("quantize(8)")))
    assert '"downlink":"quantize(8)"' in run.description
    assert "downlink" not in announced().description
    with installed(), caplog.at_level(logging.ERROR, "hedgerow"):
        device = joined(tmp_path, OPEN)
        monkeypatch.setattr(recipe, "_KEYS", tuple(key for key in recipe._KEYS if key != "downlink"))
        with pytest.raises(ClientFailed):
            device.answer("train", "1", asked(run, train()))
        assert device._outbox.answer(device.answer("train", "1", asked(announced(), train()))) is not None
    assert "the description has the key 'downlink'; allowed are preset, options" in caplog.text


def test_the_page_speaks_what_the_golden_files_of_all_languages_need_and_nothing_of_pythons_own() -> None:
    table = re.search(
        r"TRANSFORMS[^{]*\{.*?parts: \{(.*?)\n  \}", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    spoken = set(re.findall(r"^    (\w+): ", table[1], re.MULTILINE)) if table else set()
    called = [set(re.findall(r"(\w+)\(", text)) for text in PIPELINES.values()]
    assert all(names <= spoken for names in called)
    for text in PYTHON.values():
        assert not set(re.findall(r"(\w+)\(", text)) <= spoken, text
