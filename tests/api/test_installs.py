"""What each of the four installs can do, in processes in which nothing more can be imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEDGEROW = str(Path(sys.executable).parent / "hedgerow")
SERVER = ("flwr", "grpc", "pydantic", "pooch", "PIL", "h11", "httpx", "prometheus_client")
OTHERS = ("opentelemetry", "matplotlib", "plotly", "pyarrow", "dp_accounting", "scipy", "ray", "pandas")
WITHOUT = {
    "bare": (*SERVER, "torch", "cloudpickle", *OTHERS),
    "torch": (*SERVER, "cloudpickle", *OTHERS),
    "server": ("torch", "cloudpickle", *OTHERS),
    "simulation": OTHERS,
}


@pytest.fixture(params=WITHOUT)
def install(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """Its name, and the environment of a process that has it."""
    lines = [f"sys.modules[{name!r}] = None" for name in WITHOUT[request.param]]
    (tmp_path / "sitecustomize.py").write_text("\n".join(["import sys", *lines]))
    return request.param, {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}


def run(environment: dict[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_each_install_offers_what_it_has_and_names_what_it_has_not(install, tmp_path) -> None:
    name, environment = install
    configured = name in ("server", "simulation")
    listed = run(environment, HEDGEROW, "--help").stdout
    for command in ("join", "leave", "predict", "enrol", "policy"):
        assert f"│ {command} " in listed
    for command in ("run", "sweep", "list", "up"):
        assert (f"│ {command} " in listed) == configured
    assert run(environment, HEDGEROW, "enrol", "kitchen", str(tmp_path / "key")).stdout.startswith(
        "kitchen ="
    )
    assert "masked_only = " in run(environment, HEDGEROW, "policy", "show").stdout
    checked = run(environment, HEDGEROW, "policy", "test", "heart")
    if name == "simulation":
        assert "1 experiment" in run(environment, HEDGEROW, "check", "heart").stdout
        return
    ran = run(environment, HEDGEROW, "run", "heart", "--out", str(tmp_path / "run"))
    missing, extra = ("torch", "torch") if name == "server" else ("pydantic", "server")
    assert ran.returncode == 1
    assert f'{missing} is not installed; install it with: pip install "hedgerow[{extra}]"' in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "loading" not in ran.stderr, "it is said before anything is begun"
    if configured:
        assert "refused: rule data" in checked.stdout
    else:
        assert 'pip install "hedgerow[server]", or "hedgerow[simulation]"' in checked.stderr


def test_what_other_packages_bring_makes_no_server_of_a_device(tmp_path) -> None:
    """Some versions of typer bring pydantic."""
    lines = ["import sys", "for name in ('flwr', 'torch'): sys.modules[name] = None"]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}
    listed = run(environment, HEDGEROW, "--help").stdout
    assert "│ join " in listed
    assert "│ sweep " not in listed
    ran = run(environment, HEDGEROW, "run", "heart", "--out", str(tmp_path / "run"))
    assert 'flwr is not installed; install it with: pip install "hedgerow[server]", or' in ran.stderr


@pytest.mark.parametrize("install", ["bare"], indirect=True)
def test_importing_hedgerow_takes_little_and_names_the_extra_of_what_is_missing(install) -> None:
    _, environment = install
    code = (
        "import hedgerow as hr\n"
        "print(hr.fedavg().name, hr.parse_pipeline('quantize(8)').name)\n"
        "for name in ('simulate', 'client_app', 'TorchTrainer'):\n"
        "    try: getattr(hr, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    done = run(environment, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    first, simulate, app, torch = done.stdout.splitlines()
    assert first == "fedavg quantize(8)"
    for name, text in (("simulate", simulate), ("client_app", app)):
        assert text.startswith(f"hedgerow.{name} needs more: flwr is not installed")
    assert torch.endswith('pip install "hedgerow[torch]"')


@pytest.mark.parametrize("install", ["server"], indirect=True)
def test_a_coordinators_install_loads_what_coordinates_without_torch(install) -> None:
    """A recipe whose trainer is a plug-in needs no torch anywhere."""
    _, environment = install
    done = run(environment, sys.executable, "-c", "import hedgerow.experiments.runs.coordinated")
    assert done.returncode == 0, done.stderr
