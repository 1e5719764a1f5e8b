"""The report, from runs with known numbers."""

import csv
import json
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from hedgerow.experiments.report import figures, plot_data
from hedgerow.experiments.report.compare import summarise
from hedgerow.experiments.report.headline import conclude
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.report.results import load_groups
from hedgerow.experiments.runs.costs import BY_NAME, COSTS
from tests.api.known_runs import EIGHT, FLOAT, curve, line, make

MOST_BYTES = 1_500_000


def drawn_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_report_is_complete_and_needs_no_network(sweep):
    file = write_report(sweep / "report", [sweep])
    page = file.read_text(encoding="utf-8")
    assert file == sweep / "report" / "report.html"
    assert [p.name for p in file.parent.iterdir()] == ["report.html"]
    elsewhere = re.findall(r"https?:[^'\"]*|//cdn|@import|\bsrc=[^;]{9}|\bhref=.{9}", page)
    assert set(elsewhere) == {"http://www.w3.org/2000/svg", 'href="data:tex'}
    assert "default-src 'none'" in page
    assert "@@" not in page
    for text in (FLOAT, EIGHT, "85.0 ±7.1", "15.0 kB 1/2", "heart-disease", "hedgerow compare ../again",
                 "numpy ", "85.0 % (21.5 to 100.0)", "2.00x"):  # fmt: skip
        assert text in page, text
    assert "Fewest bytes to 70 % within the noise of the best accuracy: float32(), 6.00 kB up and" in page
    assert "Missed 70 %: quantize(8) (1 of 2 seeds reached it)." in page
    assert set(drawn_in(page)) == {
        "accuracy-bytes_up", "accuracy-bytes", "accuracy-rounds", "clients-classes"
    }  # fmt: skip


def test_a_report_of_many_long_runs_is_no_larger_than_a_mail_takes(tmp_path):
    for place in range(24):
        accuracies = [0.5 + 0.4 * k / 1000 + place / 1000 for k in range(1000)]
        lines = [line(k, a, up=(10 + place, 7)) for k, a in enumerate(accuracies, 1)]
        make(tmp_path / f"{place}", lines, pipeline=f"top_k({(place + 1) / 100})", rounds=1000)
    file = write_report(tmp_path / "out", [tmp_path])
    assert file.stat().st_size < MOST_BYTES
    marks = drawn_in(file.read_text())["accuracy-rounds"]["marks"]
    assert len(marks) == 24
    assert all(mark["x"][0] == 1 and mark["x"][-1] == 1000 for mark in marks), "the ends are kept"


def test_the_csv_holds_the_figures_unrounded(sweep):
    page = write_report(sweep / "report", [sweep]).read_text(encoding="utf-8")
    (link,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', page)
    rows = {row["way"]: row for row in csv.DictReader(urllib.parse.unquote(link).splitlines())}
    assert set(rows) == {FLOAT, EIGHT}
    assert float(rows[FLOAT]["accuracy"]) == pytest.approx(0.85)
    assert float(rows[FLOAT]["low_95"]) == pytest.approx(0.85 - 12.7062 * 0.1 / 2, abs=1e-4)
    assert float(rows[EIGHT]["worst"]) == 0.65
    # 6 kB of float32 and 3 kB at least of quantize(8): of the two seeds, one counts with all it sent.
    assert float(rows[FLOAT]["bytes_up_to_target"]) == 6000
    assert float(rows[EIGHT]["bytes_up_times_less"]) == 2.0
    # 15 kB is the least that any way spent: 5 rounds of 8 kB would be more, one is not.
    assert float(rows[FLOAT]["accuracy_for_15000_bytes"]) == pytest.approx((0.6 + 0.72) / 2)
    assert float(rows[EIGHT]["accuracy_for_15000_bytes"]) == pytest.approx(0.7)


def test_a_cost_that_runs_record_is_in_every_table_plot_and_conclusion(tmp_path):
    """As a clock's seconds and joules are; one without them is left out, and not taken for cheap."""
    for name, pipeline, seconds in (("a", FLOAT, 60.0), ("b", EIGHT, 20.0)):
        lines = [line(k, 0.8, clock={"seconds": seconds, "joules": 5.0, "price": 1.0}) for k in (1, 2, 3)]
        make(tmp_path / name, lines, pipeline=pipeline)
    rows = summarise([tmp_path])
    assert [row.costs["seconds"].total for row in rows] == [180.0, 60.0]
    assert {pick.cost.name: pick.row.label for pick in conclude(rows).picks}["seconds"] == EIGHT
    page = write_report(tmp_path / "out", [tmp_path]).read_text(encoding="utf-8")
    assert "3.00x less" in page
    assert "simulated time: times less" in page
    make(tmp_path / "c", curve(0.8, 0.8, 0.8, up=(1,)), pipeline="top_k(0.1)")
    more = summarise([tmp_path])
    assert "seconds" not in {pick.cost.name for pick in conclude(more).picks}
    figure = drawn_in(write_report(tmp_path / "out", [tmp_path]).read_text())["accuracy-seconds"]
    assert {mark["label"] for mark in figure["marks"]} == {FLOAT, EIGHT}


def test_where_up_and_down_disagree_each_has_a_card_and_is_pointed_out_in_its_plot(tmp_path):
    for seed in (1, 2):
        make(tmp_path / f"a-{seed}", curve(0.6, 0.8, 0.8 + seed / 100, up=(900, 900)), seed=seed)
        make(
            tmp_path / f"b-{seed}", curve(0.5, 0.6, 0.805 + seed / 100, up=(500, 500)), seed=seed,
            pipeline=EIGHT,
        )  # fmt: skip
    page = write_report(tmp_path / "out", [tmp_path]).read_text(encoding="utf-8")
    assert page.count('<div class="pick">') == 2
    assert "They disagree: take the one whose cost is scarce where you are." in page
    made = drawn_in(page)
    assert [c["label"] for c in made["accuracy-bytes_up"]["chosen"]] == [EIGHT]
    assert [c["label"] for c in made["accuracy-bytes"]["chosen"]] == [FLOAT]


def test_a_target_may_need_several_evaluations_in_a_row(tmp_path):
    make(tmp_path / "a", curve(0.8, 0.6, 0.8, up=(900,)))
    make(tmp_path / "b", curve(0.6, 0.8, 0.8, up=(900,)), pipeline=EIGHT)
    for file in tmp_path.glob("*/config.toml"):
        text = file.read_text().replace("target_in_a_row = 1", "target_in_a_row = 2")
        file.write_text(text, encoding="utf-8")
    one, other = summarise([tmp_path])
    assert (one.reached, one.bytes_to_target) == (0, None)
    assert (other.reached, other.costs["bytes_up"].to_target) == (1, 2700)
    page = write_report(tmp_path / "out", [tmp_path]).read_text(encoding="utf-8")
    assert "up + down until 2 evaluations in a row were at or above it" in page


def test_curves_hold_the_mean_and_the_range_of_the_seeds(sweep):
    first, second = plot_data.curves(load_groups([sweep]))
    assert first.rounds.tolist() == [0, 1, 2, 3]
    assert first.mean.tolist() == pytest.approx([0.5, 0.66, 0.65, 0.85])
    assert first.low.tolist() == [0.5, 0.6, 0.6, 0.8]
    assert first.high.tolist() == [0.5, 0.72, 0.7, 0.9]
    assert first.ends.tolist() == [0.8, 0.9]
    assert first.costs["bytes"].tolist() == [0, 8000, 16000, 24000]
    assert second.costs["bytes_up"].tolist() == [0, 1000, 2000, 3000]
    cost, reached = plot_data.front(plot_data.cost_curves([first, second], "bytes_up"))
    assert cost.tolist() == [1000, 2000, 3000, 12000]
    assert reached.tolist() == pytest.approx([0.5, 0.6, 0.7, 0.85])
    figure = figures.accuracy_cost([first, second], BY_NAME["bytes_up"], ())
    assert figure is not None
    assert figure["front"] == [cost.tolist(), pytest.approx(reached.tolist())]
    assert figures.accuracy_cost([first, second], BY_NAME["joules"], ()) is None
    assert len(COSTS) == len(BY_NAME)


def test_text_of_a_user_is_escaped(tmp_path):
    evil = '</script><script>alert("$x$")</script><b>&amp;'
    make(tmp_path / "run", [line(1, 0.5), line(2, 0.6), line(3, 0.7)], name=evil)
    page = write_report(tmp_path, [tmp_path / "run"]).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;/script&gt;&lt;script&gt;alert(" in page
    (mark,) = drawn_in(page)["accuracy-rounds"]["marks"]
    assert mark["label"] == evil, "the page's script writes it as text"


def test_without_accuracy_the_report_says_so(tmp_path):
    make(tmp_path / "run", [], finished=False)
    page = write_report(tmp_path / "out", [tmp_path / "run"]).read_text(encoding="utf-8")
    assert "No accuracy has been measured yet." in page
    assert set(drawn_in(page)) == {"clients-classes"}


def test_without_the_data_the_report_says_so(tmp_path):
    run = make(tmp_path / "run", [line(1, 0.5)], rounds=1)
    text = (run / "config.toml").read_text(encoding="utf-8")
    (run / "config.toml").write_text(text.replace('"heart-disease"', '"gone.csv"'), encoding="utf-8")
    page = write_report(tmp_path / "out", [run]).read_text(encoding="utf-8")
    assert "The split cannot be drawn: " in page
    assert "clients-classes" not in drawn_in(page)


def test_a_comparison_and_its_report_load_no_plotting_library():
    code = (
        "import sys, hedgerow.experiments.report.table, hedgerow.experiments.report.page;"
        "print([m for m in ('matplotlib', 'plotly', 'torch', 'flwr', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
