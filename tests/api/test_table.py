"""The table that compares runs and its JSON, from runs with known numbers."""

import io
import json

import pytest
from rich.console import Console

from hedgerow.experiments.report.compare import summarise, to_json
from hedgerow.experiments.report.headline import headline
from hedgerow.experiments.report.results import find_runs, load_groups
from hedgerow.experiments.report.table import caption, columns, table
from hedgerow.experiments.runs.store import StoreError
from tests.api.known_runs import EIGHT, FLOAT, curve, line, make, shown


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
    assert all(name in text.partition("Left out for lack of width: ")[2] for name in gone)


def test_rows_without_an_accuracy_show_what_was_measured(tmp_path):
    for name, loss, pipeline in (("a", 0.25, FLOAT), ("b", 0.125, EIGHT)):
        measured = line(1, None) | {"evaluation": {"loss": loss, "mae": 1 / 3}}
        make(tmp_path / name, [measured, line(2, None)], pipeline=pipeline, rounds=2, target=None)
    rows = summarise([tmp_path])
    cells = shown(rows)
    assert "accuracy (%)" not in cells
    assert (cells["loss"], cells["mae"]) == (("0.25", "0.125"), ("0.3333", "0.3333"))
    assert headline(rows) == []


def test_under_a_mask_a_mean_over_samples_stands_alone_says_so_and_is_not_ranked(tmp_path):
    over = {"clients": 4, "mean": 0.8, "weighted_mean": 0.7, "worst_tenth": 0.5, "spread": 0.1}
    for name, pipeline, figures in (("a", FLOAT, over), ("b", EIGHT, {"weighted_mean": 0.9})):
        told = [
            line(1, 0.5) | {"client_evaluation": {"failed": "too few are there", "metrics": {}}},
            line(2, 0.5) | {"client_evaluation": {"metrics": {"accuracy": figures}}},
        ]
        make(tmp_path / name, told, pipeline=pipeline, rounds=2)
    rows = summarise([tmp_path])
    cells = shown(rows)
    assert cells["clients: accuracy (%)"] == ("80.0", "90.0")
    assert (cells["worst tenth"], cells["spread"]) == (("50.0", "-"), ("10.0", "-"))
    (column,) = (c for c in columns(rows) if "clients" in c.header)
    assert not column.best[1]
    assert f"Clients of {EIGHT}: under a mask, each sample counting the same." in caption(rows)
    assert all("clients could not measure 1 round" in r.notes for r in rows)


def test_what_a_downlink_saves_is_told_under_the_table(tmp_path):
    rounds = [line(number, 0.5) | {"bytes_down": 1000, "float32_down": 7900} for number in (1, 2)]
    make(tmp_path / "a", rounds, pipeline=FLOAT, rounds=2)
    make(tmp_path / "b", [line(1, 0.5), line(2, 0.5)], pipeline=EIGHT, rounds=2)
    told = [[note for note in row.notes if "float32" in note] for row in summarise([tmp_path])]
    assert told == [["down: 7.9 times fewer bytes than the models in float32"], []]


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
    assert any("not from the last round" in note for note in row.notes)


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
