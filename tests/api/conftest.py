"""Fixtures of the public names and of the report."""

import shutil

import pytest

import hedgerow as hr
from tests.api.known_runs import EIGHT, UNTRAINED, line, make
from tests.api.right_arguments import MODEL
from tests.support import LAYOUT


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "model.safetensors"
    hr.save_model(file, MODEL, LAYOUT)
    return file


@pytest.fixture
def in_a_folder_with_a_model(tmp_path, monkeypatch, model_file):
    monkeypatch.chdir(tmp_path)
    shutil.copy(model_file, tmp_path)


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
