"""An environment of its own for each system, made when it is first needed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE / ".envs"
REPOSITORY = HERE.parent.parent

# torch comes first and by its exact version: any other request for it may bring a CUDA build of gigabytes.
TORCH = "install torch==2.13.0 numpy"

# What pip is told after that, step by step.
STEPS = {
    "loop": [],
    "hedgerow": [f"install --editable {REPOSITORY}[simulation]"],
    "flower": ["install flwr[simulation]>=1.41,<1.43"],
    "pfl": ["install pfl==0.6.0"],
    # It asks for Python 3.12 and runs on 3.11 too, which the others need.
    "blazefl": ["install --ignore-requires-python --no-deps blazefl==2.0.3", "install tqdm"],
    # PyPI's torchvision is built for CUDA and cannot be imported beside a CPU build of torch; fluke runs
    # without it.
    "fluke": ["install fluke-fl==0.8.1 torch==2.13.0", "uninstall --yes torchvision"],
}


def python(name: str) -> Path:
    """The interpreter of a system's environment, which is made where it is missing or out of date.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    folder = FOLDER / name
    stamp = folder / "made-of.txt"
    content = "\n".join([sys.version, TORCH, *STEPS[name]])
    if name == "hedgerow":
        content += hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()
    interpreter = folder / "bin" / "python"
    if stamp.exists() and stamp.read_text() == content:
        return interpreter
    print(f"making the environment of {name} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    for step in (TORCH, *STEPS[name]):
        pip = [str(interpreter), "-m", "pip", *step.split(), "--quiet"]
        quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run(pip, check=True, env=quiet, stderr=subprocess.PIPE, text=True)
    stamp.write_text(content)
    return interpreter


def tree(commit: str) -> Path:
    """A folder with the package `hedgerow` of a commit.

    Raises:
        subprocess.CalledProcessError: the repository does not have the commit.
    """
    folder = FOLDER / f"tree-{commit}"
    if not folder.exists():
        archive = subprocess.run(
            ["git", "archive", commit, "hedgerow"], cwd=REPOSITORY, check=True, capture_output=True
        ).stdout
        folder.mkdir()
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
    return folder
