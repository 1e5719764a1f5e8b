"""The report, from runs with known numbers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import plotly.graph_objects as go
import pytest

from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.report import draw_html, plot_data
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.report.results import load_groups
from tests.api.known_runs import EIGHT, FLOAT, line, make

PICTURES = ("accuracy-rounds.png", "accuracy-bytes.png", "clients-classes.png")


def test_the_report_is_complete_and_needs_no_network(sweep):
    file = write_report(sweep / "report", [sweep])
    page = file.read_text(encoding="utf-8")
    assert file == sweep / "report" / "report.html"
    for name in PICTURES:
        assert (sweep / "report" / name).read_bytes().startswith(b"\x89PNG"), name
    ours = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.DOTALL)
    assert len(page) - len(ours) > 1_000_000, "plotly.js is not in the page"
    assert not re.findall(r"https?:|//cdn|@import|\bsrc=|\bhref=|url\(", ours)
    assert "default-src 'none'" in ours
    assert "@@" not in ours
    for text in (
        FLOAT,
        EIGHT,
        "85.0 ±7.1",
        "15.0 kB 1/2",
        "heart-disease",
        "hedgerow compare ../again",
        "numpy ",
    ):
        assert text in ours, text
    assert "Fewest bytes to 70 % within the noise of the best accuracy: float32(), 6.00 kB up and" in ours
    assert "Missed 70 %: quantize(8) (1 of 2 seeds reached it)." in ours


def test_every_figure_is_one_that_plotly_accepts(sweep):
    drawn = plot_data.curves(load_groups([sweep]))
    figures = [
        draw_html.accuracy_rounds(drawn),
        *(draw_html.accuracy_bytes(drawn, way) for way in plot_data.BYTES),
    ]
    experiment = parse(load_groups([sweep])[0].first.config)
    federation = experiment.federation()
    figures.append(
        draw_html.clients_classes(federation.counts(), federation.names, federation.dataset.classes)
    )
    for figure in figures:
        # the page's script puts a colour in the place of each "@name"
        go.Figure(json.loads(re.sub(r'"@[a-z]+\d*(:[0-9a-f]{2})?"', '"#123456"', json.dumps(figure))))
    sums = [sum(column) for column in zip(*figures[-1]["data"][0]["z"], strict=True)]
    assert sums == federation.sizes().tolist()


def test_curves_hold_the_mean_and_the_range_of_the_seeds(sweep):
    first, second = plot_data.curves(load_groups([sweep]))
    assert first.rounds.tolist() == [0, 1, 2, 3]
    assert first.mean.tolist() == pytest.approx([0.5, 0.66, 0.65, 0.85])
    assert first.low.tolist() == [0.5, 0.6, 0.6, 0.8]
    assert first.high.tolist() == [0.5, 0.72, 0.7, 0.9]
    assert first.bytes["total"].tolist() == [0, 8000, 16000, 24000]
    assert second.bytes["up"].tolist() == [0, 1000, 2000, 3000]
    cost, reached = plot_data.front(plot_data.cost_curves([first, second], "up"))
    assert cost.tolist() == [1000, 2000, 3000, 12000]
    assert reached.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.85])


def test_text_of_a_user_is_escaped(tmp_path):
    evil = '</script><script>alert("$x$")</script><b>&amp;'
    make(tmp_path / "run", [line(1, 0.5), line(2, 0.6), line(3, 0.7)], name=evil)
    page = write_report(tmp_path, [tmp_path / "run"]).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(" in page
    figures = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert figures is not None
    (name,) = {x["name"] for x in json.loads(figures[1])["rounds"]["data"] if "name" in x}
    assert name.startswith("&lt;/script&gt;")


def test_without_accuracy_the_report_says_so(tmp_path):
    make(tmp_path / "run", [], finished=False)
    page = write_report(tmp_path / "out", [tmp_path / "run"]).read_text(encoding="utf-8")
    assert "No accuracy has been measured yet." in page
    assert not (tmp_path / "out" / "accuracy-rounds.png").exists()
    assert (tmp_path / "out" / "clients-classes.png").exists()


def test_without_the_data_the_report_says_so(tmp_path):
    run = make(tmp_path / "run", [line(1, 0.5)], rounds=1)
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace('"heart-disease"', '"gone.csv"'), encoding="utf-8")
    page = write_report(tmp_path / "out", [run]).read_text(encoding="utf-8")
    assert "The split cannot be drawn: " in page
    assert not (tmp_path / "out" / "clients-classes.png").exists()


@pytest.mark.parametrize("name", ["matplotlib", "plotly"])
def test_a_missing_extra_names_the_command(sweep, monkeypatch, name):
    monkeypatch.setattr("hedgerow.experiments.report.page.find_spec", lambda n: None if n == name else True)
    with pytest.raises(ImportError, match=rf'needs {name}.*pip install "hedgerow\[report\]"'):
        write_report(sweep, [sweep])


def test_comparing_imports_no_plotting_library():
    code = (
        "import sys, hedgerow.experiments.report.table, hedgerow.experiments.report.page;"
        "print([m for m in ('matplotlib', 'plotly', 'torch', 'flwr', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
