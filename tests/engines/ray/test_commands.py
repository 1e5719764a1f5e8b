"""A Ray of one's own for a command, and what cannot be asked of Ray."""

import re
import subprocess
import sys

import pytest

import hedgerow as hr
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.strategies import fedavgm
from tests.engines.several_processes import run
from tests.support import MeanTrainer, clients

COMMAND = [sys.executable, "-c", "from hedgerow.experiments.cli.main import main; main()"]
RECIPE = ["run", "heart", "rounds=2", "strategy.pipeline=error_feedback(top_k(0.1), quantize(8))", "--json"]


def test_the_command_line_gives_the_same_model_on_a_ray_of_its_own_and_leaves_nothing(tmp_path):
    outputs = []
    for options in (["--workers", "1"], ["--engine", "ray", "--workers", "2"]):
        out = tmp_path / str(len(outputs))
        command = [*COMMAND, *RECIPE, "--out", str(out), *options]
        outputs.append(subprocess.run(command, capture_output=True, text=True, timeout=900, check=True))
    models = [(tmp_path / str(number) / "model.safetensors").read_bytes() for number in (0, 1)]
    assert models[0] == models[1]
    said = [output.stderr.replace(str(tmp_path / str(n)), "") for n, output in enumerate(outputs)]
    said = [re.sub(r"[\d.,]+ clients/s(, [\d:]+ to go)?", "", text) for text in said]
    # On a busy machine a cluster takes its time, and Hedgerow says so.
    said = [re.sub(r"after \d+ s no actor has started.*\n", "", text) for text in said]
    assert said[0] == said[1], "Ray is quiet"


def test_a_ray_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hedgerow\[ray\]"'):
        run(cluster=RayCluster())


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"engine": "spark"}, ValueError, "engine is 'spark'"),
        ({"address": "auto"}, ValueError, "choose engine='ray'"),
        ({"gpus": 1}, ValueError, "choose engine='ray'"),
        ({"engine": "ray", "gpus": -1}, ValueError, "gpus is -1"),
        ({"engine": "ray", "address": "somewhere"}, ValueError, "it must be 'auto'"),
        ({"engine": "ray", "address": "127.0.0.1:1"}, ConnectionError, "no Ray cluster at 127.0.0.1:1"),
        ({"engine": "ray", "address": "ray://127.0.0.1:1"}, ConnectionError, "no Ray cluster at ray://"),
    ],
)
def test_what_cannot_be_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        next(hr.simulate(MeanTrainer(), clients(3), fedavgm(), rounds=1, **options))
