"""The table, the JSON and the report, from runs with known numbers."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import plotly.graph_objects as go
import pytest
from rich.console import Console

from hedgerow.experiments.config.schema import parse, to_toml
from hedgerow.experiments.report import draw_html, plot_data
from hedgerow.experiments.report.compare import summarise, to_json
from hedgerow.experiments.report.headline import headline
from hedgerow.experiments.report.page import write_report
from hedgerow.experiments.report.results import find_runs, load_groups
from hedgerow.experiments.report.table import columns, table
from hedgerow.experiments.runs.store import StoreError

PICTURES = ("accuracy-rounds.png", "accuracy-bytes.png", "clients-classes.png")
FLOAT, EIGHT = "float32()", "quantize(8)"


def line(number, accuracy=None, up=(1000, 3000), down=2000, **more):
    clients = {f"hospital-{i}": {"bytes_up": u, "bytes_down": down} for i, u in enumerate(up)}
    evaluation = {} if accuracy is None else {"accuracy": accuracy, "loss": 1.0}
    return {
        "round": number, "seconds": 0.5, "bytes_up": sum(up), "bytes_down": down * len(up),
        "clients": clients, "dropped": {}, "failed": "", "metrics": {"loss": 1.0},
        "evaluation": evaluation, **more,
    }  # fmt: skip


UNTRAINED = line(0, 0.5, up=(), seconds=0.1)


def make(folder, lines, *, seed=1, pipeline=FLOAT, finished=True, target=0.7, rounds=3, name="hospitals"):
    experiment = parse(
        {
            "name": name, "seed": seed, "rounds": rounds,
            "data": {"name": "heart-disease", "partition": {"name": "natural"}},
            "model": {"name": "logistic"},
            "strategy": {"name": "fedavg", "fraction": 1.0, "pipeline": pipeline},
            "evaluation": {} if target is None else {"target_accuracy": target},
        }
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(experiment), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    if finished:
        (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def sweep(tmp_path):
    """Two ways of sending, two seeds each."""
    small = {"up": (250, 750)}
    make(tmp_path / "a-1", [UNTRAINED, line(1, 0.6), line(2, 0.7), line(3, 0.8)], seed=1)
    make(tmp_path / "a-2", [UNTRAINED, line(1, 0.72), line(2, 0.6), line(3, 0.9)], seed=2)
    make(
        tmp_path / "b-1", [UNTRAINED, line(1, 0.5, **small), line(2, 0.6, **small), line(3, 0.75, **small)],
        seed=1, pipeline=EIGHT,
    )  # fmt: skip
    make(
        tmp_path / "b-2", [UNTRAINED, line(1, 0.5, **small), line(2, 0.6, **small), line(3, 0.65, **small)],
        seed=2, pipeline=EIGHT,
    )  # fmt: skip
    return tmp_path


def shown(rows):
    return {c.header.replace("\n", " "): c.cells for c in columns(rows)}


def test_the_table_holds_exactly_the_figures_of_the_runs(sweep):
    cells = shown(summarise([sweep]))
    assert cells == {
        "": (FLOAT, EIGHT),
        "accuracy (%)": ("85.0 ±7.1", "70.0 ±7.1"),
        "up per client, round": ("2.00 kB", "500 B"),
        "down per client, round": ("2.00 kB", "2.00 kB"),
        "up total": ("12.0 kB", "3.00 kB"),
        "down total": ("12.0 kB", "12.0 kB"),
        # float32: 2 rounds of 8 kB and 1 round of 8 kB; quantize: 3 rounds of 5 kB, one seed of two
        "up+down to 70 %": ("12.0 kB", "15.0 kB 1/2"),
        "time (s)": ("1.6", "1.6"),
    }


def test_the_best_is_bold_only_where_rows_differ_and_all_seeds_count(sweep):
    best = {c.header.replace("\n", " "): c.best for c in columns(summarise([sweep]))}
    assert best["accuracy (%)"] == (True, False)
    assert best["up total"] == (False, True)
    assert best["down total"] == best["time (s)"] == (False, False)
    assert best["up+down to 70 %"] == (False, False)


def curve(*accuracies, up, down=2000):
    return [UNTRAINED, *(line(k, a, up=up, down=down) for k, a in enumerate(accuracies, 1))]


def test_a_method_of_which_a_seed_missed_the_target_is_named_where_it_is_as_good_for_fewer_bytes(tmp_path):
    for seed, (last, small) in enumerate([(0.80, 0.81), (0.79, 0.69)]):
        make(tmp_path / f"a-{seed}", curve(0.5, 0.6, last, up=(3000, 3000)), seed=seed)
        make(tmp_path / f"b-{seed}", curve(0.5, 0.6, small, up=(1000, 1000)), seed=seed, pipeline=EIGHT)
    assert headline(summarise([tmp_path])) == [
        # The seed that missed it counts with all that it sent: 3 rounds of 2 kB up and 4 kB down.
        "Fewest bytes to 70 % within the noise of the best accuracy: quantize(8), at least 6.00 kB up and"
        " 18.0 kB up + down, all clients together.",
        "Noise: a standard error of the difference to the best, over the seeds. The best: float32(), 79.5 %."
        " Within it: float32(), quantize(8).",
        "Missed 70 %: quantize(8) (1 of 2 seeds reached it).",
    ]


def test_each_direction_has_its_own_best(tmp_path):
    """`top_k` sends little up, and takes longer: the model goes down more often."""
    for seed in (1, 2):
        jitter = seed / 100
        make(tmp_path / f"a-{seed}", curve(0.6, 0.8, 0.8 + jitter, up=(900, 900)), seed=seed)
        make(
            tmp_path / f"b-{seed}", curve(0.5, 0.6, 0.805 + jitter, up=(500, 500)), seed=seed, pipeline=EIGHT
        )
        make(tmp_path / f"c-{seed}", curve(0.5, 0.6, 0.6, up=(5, 5)), seed=seed, pipeline="top_k(0.1)")
    first, noise, missed = headline(summarise([tmp_path]))
    assert "up, quantize(8) with 3.00 kB; up + down, float32() with 11.6 kB" in first
    assert "The best: quantize(8), 82.0 %. Within it: float32(), quantize(8)." in noise
    assert missed == "Missed 70 %: top_k(0.1) (0 of 2 seeds reached it)."


def test_what_is_far_worse_than_the_best_is_not_named_however_few_its_bytes(tmp_path):
    for seed in (1, 2):
        make(tmp_path / f"a-{seed}", curve(0.6, 0.7, 0.9 + seed / 1000, up=(900, 900)), seed=seed)
        make(tmp_path / f"b-{seed}", curve(0.7, 0.7, 0.71, up=(5, 5)), seed=seed, pipeline=EIGHT)
    first, noise = headline(summarise([tmp_path]))
    assert "float32(), 3.60 kB up and 11.6 kB up + down" in first
    assert "Within it: float32()." in noise


def test_with_one_seed_the_headline_says_that_noise_is_not_known(tmp_path):
    make(tmp_path / "a", curve(0.5, 0.6, 0.8, up=(900, 900)))
    make(tmp_path / "b", curve(0.5, 0.6, 0.79, up=(5, 5)), pipeline=EIGHT)
    first, noise = headline(summarise([tmp_path]))
    assert "float32(), 5.40 kB up" in first
    assert noise == (
        "One seed: what is noise is not known, and only the best accuracy counts as good."
        " The best: float32(), 80.0 %."
    )
    assert headline(summarise([tmp_path / "a"])) == []


def test_without_a_target_the_bytes_are_those_of_the_whole_run(tmp_path):
    for seed in (1, 2):
        for name, up, pipeline in (("a", 900, FLOAT), ("b", 500, EIGHT)):
            lines = curve(0.5, 0.6, 0.8 + seed / 100, up=(up, up))
            make(tmp_path / f"{name}-{seed}", lines, seed=seed, pipeline=pipeline, target=None)
    first, _ = headline(summarise([tmp_path]))
    assert "Fewest bytes within the noise of the best accuracy: quantize(8), 3.00 kB up and 15.0 kB" in first


def test_where_nobody_reached_the_target_nobody_is_said_to_be_cheapest(tmp_path):
    make(tmp_path / "a", curve(0.5, up=(900, 900)), rounds=1)
    make(tmp_path / "b", curve(0.6, up=(900, 900)), rounds=1, pipeline=EIGHT)
    first, _, missed = headline(summarise([tmp_path]))
    assert first == "No way within the noise of the best accuracy reached 70 %."
    assert missed == (
        "Missed 70 %: float32() (0 of 1 seed reached it), quantize(8) (0 of 1 seed reached it)."
    )


BYTES = ["down per client, round", "down total", "up per client, round", "up total", "up+down to 70 %"]


@pytest.mark.parametrize(("width", "left_out"), [(30, 6), (40, 5), (60, 3), (80, 1), (100, 0), (160, 0)])
def test_a_narrow_table_keeps_the_names_of_its_rows_and_loses_bytes_first(tmp_path, width, left_out):
    long = "error_feedback(top_k(0.01), quantize(8))"
    for place, pipeline in enumerate([FLOAT, EIGHT, long]):
        for seed in (1, 2):
            lines = curve(0.5, 0.6, 0.7 + seed / 50, up=(123_456_789, 987_654))
            make(tmp_path / f"{place}-{seed}", lines, seed=seed, pipeline=pipeline)
    built = table(summarise([tmp_path]), width)
    headers = [str(column.header).replace("\n", " ") for column in built.columns]
    gone = [*BYTES, "time (s)"][:left_out]
    assert headers[:2] == ["", "accuracy (%)"]
    assert set(headers[2:]) == {*BYTES, "time (s)"} - set(gone)
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(built)
    printed = console.export_text()
    assert max(map(len, printed.splitlines())) <= width
    text = " ".join(printed.split())
    assert "…" not in text
    for name in (FLOAT, EIGHT, "error_feedback(top"):
        assert name in text, "the name of a row was broken"
    assert "73.0 ±1.4" in text
    assert all(name in text.partition("Left out, for want of width: ")[2] for name in gone)


def test_rows_without_an_accuracy_show_what_was_measured(tmp_path):
    for name, loss, pipeline in (("a", 0.25, FLOAT), ("b", 0.125, EIGHT)):
        measured = line(1, None) | {"evaluation": {"loss": loss, "mae": 1 / 3}}
        make(tmp_path / name, [measured, line(2, None)], pipeline=pipeline, rounds=2, target=None)
    rows = summarise([tmp_path])
    cells = shown(rows)
    assert "accuracy (%)" not in cells
    assert (cells["loss"], cells["mae"]) == (("0.25", "0.125"), ("0.3333", "0.3333"))
    assert headline(rows) == []


def test_json_holds_unrounded_figures(sweep):
    first, second = json.loads(to_json(summarise([sweep])))
    assert first["label"] == FLOAT
    assert first["seeds"] == [1, 2]
    assert first["accuracies"] == [0.8, 0.9]
    assert first["accuracy"] == pytest.approx(0.85)
    assert first["accuracy_deviation"] == pytest.approx(0.1 / 2**0.5)
    assert (first["bytes_up"], first["bytes_down"], first["bytes_to_target"]) == (12000, 12000, 12000)
    assert (second["reached"], second["bytes_to_target"], second["bytes_up_per_client"]) == (1, 15000, 500)
    assert first["seconds"] == pytest.approx(1.6)
    assert first["finished"] is True
    assert first["notes"] == []


def test_the_printed_table_fits_100_columns(tmp_path):
    long = "error_feedback(top_k(0.01), quantize(8, block=256))"
    for place, (pipeline, reached) in enumerate([(FLOAT, 0.1), (EIGHT, 0.8), (long, 0.9)]):
        for seed in range(2 + place):
            huge = {"up": (123_456_789, 987_654_321), "down": 123_456_789, "seconds": 12345.6}
            lines = [line(1, reached / (1 + seed), **huge)]
            make(tmp_path / f"{place}-{seed}", lines, seed=seed, pipeline=pipeline, rounds=1 + place)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(table(summarise([tmp_path])))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert not [text for text in lines if "…" in text], "a figure was cut off"


def test_a_round_that_stands_twice_counts_once_and_a_torn_line_not_at_all(tmp_path):
    run = make(tmp_path / "run", [line(1, 0.1), line(2, 0.2), line(2, 0.3), line(3, 0.4)])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"round": 4, "bytes_up": 12')
    (row,) = summarise([run])
    assert (row.rounds, row.accuracy, row.bytes_up) == (3, 0.4, 12000)


def test_unfinished_runs_are_marked_and_never_mixed_with_finished_ones(tmp_path):
    make(tmp_path / "1", [line(1, 0.5), line(2, 0.6), line(3, 0.7)], seed=1)
    make(tmp_path / "2", [line(1, 0.9)], seed=2, finished=False)
    make(tmp_path / "3", [], seed=3, finished=False)
    done, begun, new = summarise([tmp_path])
    assert (done.seeds, done.accuracy) == ((1,), 0.7)
    assert (begun.seeds, begun.accuracy, begun.rounds, begun.planned) == ((2,), 0.9, 1, 3)
    assert begun.label.endswith("(unfinished: 1 of 3 rounds)")
    assert (new.accuracy, new.bytes_up, new.bytes_up_per_client) == (None, 0, None)
    cells = shown([done, begun, new])
    assert cells["rounds"] == ("3", "1", "0")
    assert cells["accuracy (%)"] == ("70.0", "90.0", "-")
    assert not any(any(c.best) for c in columns([done, begun, new]))


def test_missing_evaluations_drops_and_failures_are_noted(tmp_path):
    reply_lost = line(2, None, dropped={"hospital-1": "timed out"}, failed="1 of 2 replies, quorum is 2")
    reply_lost["clients"]["hospital-1"]["bytes_up"] = 0
    run = make(tmp_path / "run", [line(1, 0.5), reply_lost, line(3, None)])
    (row,) = summarise([run])
    assert row.accuracy == 0.5
    assert row.bytes_up_per_client == pytest.approx((1000 + 3000 + 1000 + 1000 + 3000) / 5)
    assert any("1 round failed" in note for note in row.notes)
    assert any("1 reply did not count" in note for note in row.notes)
    assert any("not of the last round" in note for note in row.notes)


def test_the_same_run_counts_once_however_it_is_named(sweep):
    twice = summarise([sweep, sweep / "a-1", sweep / "." / "a-2"])
    assert [r.seeds for r in twice] == [(1, 2), (1, 2)]


def test_a_copy_of_a_run_is_left_out_and_noted(tmp_path):
    for name in ("first", "second"):
        make(tmp_path / name, [line(1, 0.5), line(2, 0.6), line(3, 0.7)])
    (row,) = summarise([tmp_path])
    assert row.seeds == (1,)
    assert any("1 run left out" in note for note in row.notes)


def test_labels_name_what_differs(tmp_path):
    make(tmp_path / "1", [line(1, 0.5)], pipeline=FLOAT, rounds=1)
    make(tmp_path / "2", [line(1, 0.5)], pipeline=EIGHT, rounds=1)
    make(tmp_path / "3", [line(1, 0.5)], pipeline=EIGHT, rounds=1, target=0.9)
    labels = [g.label for g in load_groups([tmp_path])]
    assert labels == [
        f"{FLOAT}, target_accuracy=0.7", f"{EIGHT}, target_accuracy=0.7", f"{EIGHT}, target_accuracy=0.9",
    ]  # fmt: skip
    assert [g.label for g in load_groups([tmp_path / "1"])] == ["hospitals"]


def test_runs_below_a_folder_come_in_natural_order(tmp_path):
    for number in (10, 9, 1):
        make(tmp_path / f"seed-{number}", [], seed=number)
    assert [p.name for p in find_runs([tmp_path])] == ["seed-1", "seed-9", "seed-10"]


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_a_folder_that_is_no_run_is_one_clear_error(tmp_path, what):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    if what == "file":
        folder.touch()
    with pytest.raises(StoreError, match=f"{what}.*hedgerow run"):
        summarise([folder])


def test_a_broken_configuration_names_its_file(tmp_path):
    run = make(tmp_path / "run", [])
    (run / "config.toml").write_text("rounds = ")
    with pytest.raises(StoreError, match=r"config\.toml cannot be read"):
        summarise([run])


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
    cost, reached = plot_data.front(plot_data.trails([first, second], "up"))
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
