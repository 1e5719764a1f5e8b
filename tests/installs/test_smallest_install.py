"""The install of docs/raspberry-pi.md, by the page's commands: it is small, and loads what a device needs."""

import subprocess

import pytest

from benchmarks.devices.run import install, made
from tests.installs.environments import clean

MOST = 160
"""Megabytes, with the environment and pip."""

LOADS = (
    "import sys, hedgerow.node.__main__, hedgerow.client.onnx.trainer;"
    " print({'torch', 'flwr'} & {*sys.modules})"
)


@pytest.mark.long
def test_a_pi_installs_in_160_megabytes_what_trains_by_graphs(tmp_path, capsys):
    environment = made(tmp_path)
    sizes = install(environment)
    with capsys.disabled():
        print(f"\n{sum(sizes.values()):.0f} MB: {sizes}")
    assert sum(sizes.values()) < MOST
    assert [*environment.rglob("hedgerow/node/__pycache__/node.*.pyc")], (
        "each start compiles all that it loads"
    )
    for command in (["python", "-c", LOADS], ["hedgerow", "policy", "show"]):
        done = subprocess.run(
            [environment / "bin" / command[0], *command[1:]], cwd=tmp_path,
            env=clean(PYTHONDONTWRITEBYTECODE="1"), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.startswith(("set()", "# ")), done.stdout
