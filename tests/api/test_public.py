"""What the package offers, and what importing it does not load."""

import subprocess
import sys

import pytest

import hedgerow

PUBLIC = [
    "fedbn",
    "feddyn",
    "arrivals",
    "clock",
    "fedasync",
    "fedbuff",
    "fednova",
    "fedper",
    "geometric_median",
    "krum",
    "median",
    "parse_aggregate",
    "trimmed_mean",
    "Budget",
    "Dataset",
    "Deployment",
    "EvaluationPlan",
    "Federation",
    "InProcessGrid",
    "Layout",
    "LocalTraining",
    "Model",
    "Payload",
    "RoundResult",
    "RunOptions",
    "Samples",
    "ServerState",
    "Strategy",
    "Task",
    "TorchTrainer",
    "absolute_error",
    "adaptive_clip",
    "banded_noise",
    "begin",
    "calibrated",
    "chain",
    "client_app",
    "class_means",
    "clip",
    "cyclic",
    "dirichlet",
    "dp_fedavg",
    "dp_ftrl",
    "error_feedback",
    "fedadagrad",
    "fedadam",
    "fedavg",
    "fedavgm",
    "fedprox",
    "fedyogi",
    "float32",
    "from_arrays",
    "from_function",
    "gaussian_noise",
    "iid",
    "load_dataset",
    "load_model",
    "lora",
    "low_rank",
    "mask",
    "mean",
    "natural",
    "parse_pipeline",
    "poisson",
    "profile",
    "quantity_skew",
    "quantize",
    "random_k",
    "ridge",
    "rounds",
    "save_model",
    "scaffold",
    "secure_dp_fedavg",
    "secure_fedavg",
    "server_app",
    "shards",
    "simulate",
    "squared_error",
    "drive",
    "eden",
    "entropy",
    "subspace",
    "ternary",
    "top_k",
    "train",
    "uniform",
    "weight_by_examples",
]


def test_the_public_names_are_these():
    assert hedgerow.__all__ == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(hedgerow, name).__doc__.strip()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fedvag'"):
        _ = hedgerow.fedvag


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_hedgerow_loads_nothing_heavy():
    heavy = {
        "numpy",
        "flwr",
        "torch",
        "pydantic",
        "typer",
        "rich",
        "matplotlib",
        "plotly",
        "pyarrow",
        "PIL",
        "ray",
        "scipy",
        "dp_accounting",
    }
    assert not heavy & loaded_by("import hedgerow")


@pytest.mark.parametrize("module", ["client.app", "client.state", "strategies", "records", "server.app"])
def test_a_device_loads_no_torch(module):
    loaded = loaded_by(f"import hedgerow.{module}")
    assert "numpy" in loaded
    assert not {"torch", "matplotlib", "plotly", "pyarrow", "pydantic", "ray", "scipy"} & loaded


def test_a_devices_policy_loads_neither_flower_nor_torch():
    loaded = loaded_by("import hedgerow.client.guard, hedgerow.client.discretion")
    assert "numpy" in loaded
    assert not {"flwr", "torch", "pydantic", "ray", "scipy"} & loaded
