"""Plans, private runs and audits as commands."""

import json
import re
from pathlib import Path

import pytest

from hedgerow.experiments.runs.store import RunFolder
from tests.api.commands.command import hedgerow


def test_the_one_number_that_is_left_out_is_computed() -> None:
    result = hedgerow("privacy", "--delta", "1e-5", "--rounds", "40", "--noise", "4", "--rate", "1")
    assert result.exit_code == 0
    assert re.search(r"^epsilon +7\.5112\d +<- computed$", result.stdout, re.MULTILINE)
    assert re.search(r"By Renyi divergences alone: epsilon 8\.\d+", result.stdout)
    found = json.loads(
        hedgerow(
            "privacy", "--epsilon", "8", "--delta", "1e-5", "--noise", "4", "--rate", "1", "--json"
        ).stdout
    )
    assert found["rounds"] == 44
    assert found["epsilon"] == 8


def test_a_plan_says_what_epsilon_is_about_and_can_be_for_other_data() -> None:
    given = ["privacy", "--delta", "1e-4", "--rounds", "5", "--rate", "1", "--noise", "2.3"]
    assert "with or without the data of one client" in " ".join(hedgerow(*given).stdout.split())
    replaced = hedgerow(*given, "--adjacency", "replace")
    assert "any others in their place" in " ".join(replaced.stdout.split())
    found = json.loads(hedgerow(*given, "--adjacency", "replace", "--json").stdout)
    assert (round(found["epsilon"], 2), found["adjacency"]) == (8.57, "replace")
    assert "zero_out" in hedgerow(*given, "--adjacency", "swap").stderr


def test_a_plan_with_skellam_noise_is_that_of_the_ledger() -> None:
    given = ["privacy", "--delta", "1e-5", "--rounds", "40", "--rate", "1"]
    model = ["--parameters", "100000", "--norm", "0.5", "--unit", str(2.0**-13)]
    result = hedgerow(*given, *model, "--noise", "4")
    assert result.exit_code == 0
    assert re.search(r"^epsilon +8\.087\d+ +<- computed$", result.stdout, re.MULTILINE)
    assert "4099.57 units (l2). Skellam noise of variance 2.68904e+08" in " ".join(result.stdout.split())
    found = json.loads(hedgerow(*given, *model, "--epsilon", "8", "--json").stdout)
    assert found["noise_multiplier"] == pytest.approx(4.037, abs=0.003)
    assert found["variance"] >= (found["noise_multiplier"] * found["l2"]) ** 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--epsilon", "1", "--delta", "1e-5", "--noise", "1", "--rate", "1", "--norm", "1"],
            "missing: --para",
        ),
        (["--epsilon", "1"], "missing: --delta --rounds --noise --rate"),
        (["--delta", "2", "--rounds", "3", "--noise", "1", "--rate", "1"], "delta is 2.0"),
        (["--epsilon", "0.01", "--delta", "1e-5", "--noise", "1", "--rate", "1"], "one round alone passes"),
    ],
)
def test_a_plan_that_cannot_be_is_told(arguments: list[str], text: str) -> None:
    result = hedgerow("privacy", *arguments)
    assert result.exit_code == 2
    assert text in result.stderr


PRIVATE = """
name = "private"
rounds = 9
[data]
name = "fashion-mnist"
[data.partition]
name = "iid"
clients = 20
[model]
name = "logistic"
[strategy]
name = "dp_fedavg"
clients_per_round = 4
population = 20
noise_multiplier = 1.0
delta = 1e-3
epsilon = 2.5
"""


def test_a_private_run_shows_epsilon_beside_accuracy_and_bytes_and_ends_within_its_budget() -> None:
    Path("private.toml").write_text(PRIVATE)
    result = hedgerow("run", "private.toml", "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "epsilon" in result.stdout
    assert "(δ 0.001)" in result.stdout
    assert "ended early: one more round would have passed the privacy budget" in " ".join(
        result.stdout.split()
    )
    (row,) = json.loads(hedgerow("compare", "runs/private", "--json").stdout)
    lines = RunFolder(Path("runs/private")).rounds()
    assert row["epsilon"] == lines[-1]["epsilon"] <= 2.5
    assert row["rounds"] < 9
    assert all(line["metrics"] == {} for line in lines)
    assert len(Path("runs/private/privacy.jsonl").read_text().splitlines()) == len(lines)
    assert "epsilon" in Path("runs/private/report.html").read_text()


def test_a_run_with_noise_from_the_clients_shows_epsilon_and_half_of_the_bytes() -> None:
    Path("private.toml").write_text(PRIVATE)
    assert hedgerow("run", "private.toml", "rounds=2", "--workers", "1").exit_code == 0
    secure = [
        "strategy.name=secure_dp_fedavg", "strategy.clients_per_round=20", "strategy.noise_multiplier=4.0",
        "rounds=2", "--out", "runs/secure",
    ]  # fmt: skip
    result = hedgerow("run", "private.toml", *secure, "--masks")
    assert result.exit_code == 0, result.output
    central, masked = json.loads(hedgerow("compare", "runs/private", "runs/secure", "--json").stdout)
    assert 0 < masked["epsilon"] <= 2.5
    lines = RunFolder(Path("runs/secure")).rounds()
    assert [line["secure"] for line in lines] == ["masked"] * 2
    assert all(not line["failed"] and line["metrics"] == {} for line in lines)
    assert "epsilon" in Path("runs/secure/report.html").read_text()
    assert central["epsilon"] > 0
    assert "secure_dp_fedavg" in hedgerow("list", "strategies").stdout


def test_an_audit_of_a_run_tells_its_verdict_and_draws_it() -> None:
    Path("private.toml").write_text(PRIVATE)
    assert hedgerow("run", "private.toml", "rounds=2", "--workers", "1").exit_code == 0
    result = hedgerow("audit", "runs/private", "--out", "heard")
    assert result.exit_code == 0, result.output
    assert "Nothing speaks against epsilon" in result.stdout
    assert Path("heard/audit.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(Path("heard/audit.json").read_text())
    assert found["passed"]
    names = {finding["name"] for finding in found["findings"]}
    assert names >= {"canaries", "sensitivity", "noise", "freshness", "sampling"}


def test_what_is_not_private_is_not_audited() -> None:
    result = hedgerow("audit", "heart")
    assert result.exit_code != 0
    assert "is private; audit one such as dp_fedavg" in result.stderr
