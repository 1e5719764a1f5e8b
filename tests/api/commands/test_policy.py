"""`hedgerow policy`: what a device would do, before any server asks."""

import json
import re
from pathlib import Path

from hedgerow.client.limits import Limits
from hedgerow.client.policy import Policy
from hedgerow.client.policy_file import load_policy
from tests.api.commands.command import ROOT, hedgerow


def shown(*options: str) -> Policy:
    result = hedgerow("policy", "show", *options)
    assert result.exit_code == 0, result.output
    Path("shown.toml").write_text(result.stdout)
    return load_policy(Path("shown.toml"))


def test_a_shown_policy_is_a_policy_file() -> None:
    assert shown() == Policy.unenrolled()
    device = Path("device")
    device.mkdir()
    assert shown("--device", "device") == Policy()
    (device / "policy.toml").write_text("min_clients = 3\nclient_epsilon = 4.0\n")
    assert shown("--device", "device") == Policy(min_clients=3, client_epsilon=4.0)
    assert shown("--policy", "device/policy.toml") == Policy(min_clients=3, client_epsilon=4.0)


def test_show_tells_how_often_the_device_has_answered() -> None:
    Path("device").mkdir()
    lines = [json.dumps({"kind": kind}) for kind in ("query", "train.keys", "train.masked", "train")]
    Path("device/answers.jsonl").write_text("\n".join(lines) + "\n")
    assert "2 updates have left the device" in hedgerow("policy", "show", "--device", "device").stderr
    Path("device/answers.jsonl").write_text("nonsense\n")
    failed = hedgerow("policy", "show", "--device", "device")
    assert failed.exit_code == 2
    assert "cannot be read" in failed.stderr


def test_a_run_is_tried_without_a_trace() -> None:
    Path("device").mkdir()
    options = ("--device", "device", "--data", "fashion-mnist")
    refused = hedgerow("policy", "test", "private-secure", "strategy.noise_multiplier=0.01", *options)
    assert refused.exit_code == 1
    assert refused.stdout.splitlines() == [
        "refused: rule corrupt: the run tolerates a corrupt fraction of 0.1; it must tolerate 0.2"
    ]
    asked = ("policy", "test", "private-secure", "strategy.corrupt=0.2", *options)
    answered = hedgerow(*asked)
    assert answered.exit_code == 0
    assert answered.stdout.startswith("answered: train.masked messages of secure_dp_fedavg")
    found = answered.stdout.split()[-1]
    Path("device/policy.toml").write_text(f'strategies = ["{found}"]\nmost_answers = 5\n')
    assert hedgerow(*asked).exit_code == 0
    assert "rule strategies" in hedgerow(*asked, "local.epochs=2").stdout
    assert {path.name for path in Path("device").iterdir()} == {"policy.toml"}


def test_whether_a_device_would_measure_is_told_too() -> None:
    Path("device").mkdir()
    masked = ["strategy.name=secure_fedavg", "data.held_out=0.2", "evaluation.clients=all"]
    asked = ("policy", "test", "heart", *masked, "--device", "device", "--data", "heart-disease")
    lines = hedgerow(*asked).stdout.splitlines()
    assert lines[0].startswith("answered: train.masked messages")
    refused = "refused, while it takes part: evaluate.masked messages: rule evaluate: the device does not"
    assert lines[1] == f"{refused} evaluate models for others"
    Path("device/policy.toml").write_text("evaluate = true\n")
    answered = hedgerow(*asked)
    assert answered.exit_code == 0
    measures = "answered: evaluate.masked messages: it measures models on what it holds out, under the mask"
    assert answered.stdout.splitlines()[1] == measures


def test_what_a_run_may_not_name_is_told() -> None:
    assert "rule data" in hedgerow("policy", "test", "heart").stdout
    assert hedgerow("policy", "test", "heart", "--data", "heart-disease").exit_code == 0
    Path("mine.toml").write_text("")
    assert "rule recipes" in hedgerow("policy", "test", "mine.toml").stdout
    failed = hedgerow("policy", "test", "heart", "--policy", "absent.toml")
    assert failed.exit_code == 2
    assert "absent.toml cannot be read" in failed.stderr


def test_the_policy_in_the_guide_is_one() -> None:
    page = (ROOT / "docs" / "federation.md").read_text()
    blocks = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (text,) = (block for block in blocks if "masked_only" in block)
    Path("guide.toml").write_text(text)
    limits = Limits(quiet=("18:00-23:00",))
    assert load_policy(Path("guide.toml")) == Policy(
        client_noise=2.0, client_epsilon=8.0, most_answers=100, limits=limits
    )
