"""Graphs from the command line: signed where they are written, and tried on a policy before a server does."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from hedgerow.client.graph_rules import GraphRules
from hedgerow.client.policy import Policy
from hedgerow.experiments.cli import node
from hedgerow.experiments.config.errors import CommandError
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.graphs import checked_graphs
from hedgerow.graphs.offer import Offer, read_signed, write_signature
from tests.api.commands.command import hedgerow
from tests.graph_files import OTHER_SECRET, SECRET, changed, small

HEART = ("heart", "--data", "heart-disease", "--graphs", "graphs")


def test_export_signs_with_a_key_that_it_makes_and_says_what_a_policy_must_list() -> None:
    done = hedgerow("export", "heart", "--out", "graphs", "--sign", "signing.key")
    assert done.exit_code == 0, done.output
    graphs, offer = read_signed(Path("graphs"))
    assert offer.signer == offer.key
    assert done.stdout.splitlines()[-2:] == [f"hash {graphs.hash}", f"signed by {offer.key}"]
    assert "created signing.key: keep it off the coordinator" in done.stderr
    assert f'graphs.keys = ["{offer.key}"]' in done.stderr
    assert Path("signing.key").stat().st_mode & 0o077 == 0
    assert {file.name for file in Path().iterdir()} == {"graphs", "signing.key"}


def test_nothing_is_written_where_the_key_to_sign_with_is_none() -> None:
    Path("bad.key").write_text("garbage")
    Path("bad.key").chmod(0o600)
    done = hedgerow("export", "heart", "--out", "graphs", "--sign", "bad.key")
    assert done.exit_code == 2
    assert "nothing is exported" in done.stderr
    assert {file.name for file in Path().iterdir()} == {"bad.key"}


def test_graphs_of_a_run_with_personal_layers_are_good_for_its_seed_alone() -> None:
    recipe = ["heart", "model.name=mlp-2nn", 'strategy.personal="last(1)"', "seed=5"]
    assert hedgerow("export", *recipe, "--out", "graphs").exit_code == 0
    told = json.loads(Path("graphs/manifest.json").read_text())["personal"]
    assert (told["seed"], len(told["tensors"])) == (5, 2)
    assert checked_graphs(load("heart", recipe[1:]), Path("graphs"))[0].manifest["personal"] == told
    with pytest.raises(CommandError, match="start from the seed 5 in the graphs, and 6 in the run"):
        checked_graphs(load("heart", [*recipe[1:3], "seed=6"]), Path("graphs"))


def signed(secret=None, graphs=None) -> Offer:
    found = graphs or small()
    found.write(Path("graphs"))
    offer = Offer.of(found, secret)
    if secret is not None:
        write_signature(offer, Path("graphs"))
    return offer


def policy(**rules: object) -> None:
    lines = [f"graphs.{name} = {json.dumps(value)}" for name, value in rules.items()]
    open_ = ["masked_only = false", "statistics = true"]
    Path("mine.toml").write_text("\n".join([*open_, *lines, ""]))


def tried() -> list[str]:
    done = hedgerow("policy", "test", *HEART, "--policy", "mine.toml")
    assert done.exit_code == (1 if "refused" in done.stdout else 0), done.output
    return done.stdout.splitlines()


def test_policy_test_says_whether_graphs_would_be_taken() -> None:
    offer = signed(SECRET)
    policy()
    assert tried()[0] == (
        "refused: rule graphs: the device takes no graphs: its policy lists neither a hash nor a key"
    )
    assert 'a graph could return the data as "parameters"' in tried()[1]
    policy(keys=[offer.key])
    (line,) = tried()
    assert line.endswith("allows it by graphs.in_the_clear")
    policy(keys=[offer.key], in_the_clear=True)
    assert tried()[1].startswith(f"taken: graphs {offer.hash}; a run of one takes at most 16.0 MB")
    policy(hashes=[offer.hash], in_the_clear=True)
    assert tried()[1].startswith("taken")
    signed(OTHER_SECRET)
    policy(keys=[offer.key], in_the_clear=True)
    assert "whose key the device's policy does not list" in tried()[0]
    signed(SECRET, changed(small(), lambda model: model.graph.node.pop()))
    assert tried()[0].startswith("refused: rule graphs: train.onnx: ")


def test_a_shown_policy_has_the_rules_for_graphs() -> None:
    offer = signed(SECRET)
    policy(keys=[offer.key], megabytes=64)
    shown = hedgerow("policy", "show", "--policy", "mine.toml").stdout
    assert f'graphs.keys = ["{offer.key}"]' in shown
    assert "graphs.megabytes = 64 " in shown
    assert 'a graph could return the data as "parameters"' in shown


CLEAR = replace(Policy.unenrolled(), graphs=GraphRules(keys=("0" * 64,)))
NO_NEED = [
    Policy.unenrolled(), replace(CLEAR, masked_only=True), replace(CLEAR, sample_noise=1.0),
    replace(CLEAR, graphs=replace(CLEAR.graphs, in_the_clear=True)),
]  # fmt: skip


@pytest.mark.parametrize("agreed", [True, False])
def test_join_asks_for_consent_to_graphs_in_the_clear_where_somebody_is_there(agreed, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text: asked.append(text) or agreed)
    assert node._agreed(CLEAR).graphs.in_the_clear == agreed
    (text,) = asked
    assert 'A graph could return the data as "parameters"' in text
    assert [node._agreed(each) for each in NO_NEED] == NO_NEED
    assert len(asked) == 1


def test_where_nobody_is_there_nothing_is_agreed_to(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    assert node._agreed(CLEAR) == CLEAR
    assert "Without graphs.in_the_clear = true in it, no graph trains" in capsys.readouterr().err
