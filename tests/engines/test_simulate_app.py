"""`hedgerow simulate`: an unchanged Flower app on our grid; `ray` has it on Flower's Ray engine."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.engines.simulate_command import TINY, changed_copy, result, simulate


def test_an_app_runs_and_its_last_line_says_what_it_took(tmp_path: Path) -> None:
    done = simulate(TINY, "--clients", "3", "--workers", "1", cwd=tmp_path)
    assert result(done) == {"values": [4.5, 3.0], "word": "hello"}
    assert done.stdout.splitlines()[-1].startswith("done; ")
    assert done.stdout.rstrip().endswith("clients a second, no client failed")
    assert " 6 messages, " in done.stdout
    assert "[ROUND 2/2]" in done.stderr  # Flower's log
    assert list(tmp_path.iterdir()) == []


def test_the_run_config_is_changed_as_with_flwr_run(tmp_path: Path) -> None:
    done = simulate(TINY, "--clients", "3", "--run-config", "rounds=3 word='two words'", cwd=tmp_path)
    assert result(done) == {"values": [6.75, 6.0], "word": "two words"}


def test_a_failing_app_gives_exit_code_1_and_its_own_lines(tmp_path: Path) -> None:
    done = simulate(TINY, "--clients", "3", "-c", "fail=true", cwd=tmp_path)
    assert done.returncode == 1
    first, *told = done.stderr.splitlines()
    assert first.endswith(": loading the app and its clients")
    assert told[0].startswith("  tiny.py:")
    assert told[0].endswith(" in main")
    assert told[1:3] == ['    raise RuntimeError("asked to fail")', "RuntimeError: asked to fail"]
    assert told[3].startswith("failed; ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_failing_client_is_named_and_the_run_goes_on(tmp_path: Path, workers: str) -> None:
    app = changed_copy(
        tmp_path / "app", "    record = context", "    assert client < 3, 'no data'\n    record = context"
    )
    done = simulate(app, "--clients", "4", "--workers", workers, cwd=tmp_path)
    assert result(done)["values"] == [4.5, 3.0]
    assert done.stdout.rstrip().endswith("clients a second, failed: client 3 (2x)")
    told = done.stderr[done.stderr.index("client 3 failed: no data") :].splitlines()
    assert told[1].endswith(" in train")
    assert told[2:4] == ["    assert client < 3, 'no data'", "AssertionError: no data"]
    assert done.stderr.count("\nAssertionError: no data") == 1  # the second time it is only counted


def test_a_run_in_which_no_client_answers_has_failed(tmp_path: Path) -> None:
    app = changed_copy(tmp_path / "app", "result.arrays.to_numpy_ndarrays()[0].tolist()", "[]")
    code = (app / "tiny.py").read_text()
    (app / "tiny.py").write_text(
        code.replace("    record = context", "    import absent_module\n    record = context")
    )
    done = simulate(app, "--clients", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert "failed, no client answered" in done.stderr.splitlines()[-1]
    assert "client 0 (2x), client 1 (2x), client 2 (2x)" in done.stderr


def test_a_process_that_dies_is_a_failure(tmp_path: Path) -> None:
    app = changed_copy(
        tmp_path / "app",
        "    strategy =",
        "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n    strategy =",
    )
    done = simulate(app, "--clients", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert "its process was ended by signal 9" in done.stderr


def test_a_server_app_that_exits_with_a_code_has_failed_and_without_one_has_not(tmp_path: Path) -> None:
    app = changed_copy(
        tmp_path / "app",
        "    strategy =",
        "    import sys\n    sys.exit(int(context.run_config['rounds']))\n    strategy =",
    )
    done = simulate(app, "--clients", "3", "-c", "rounds=7", cwd=tmp_path)
    assert done.returncode == 1
    assert "the server app ended itself with exit code 7" in done.stderr
    assert simulate(app, "--clients", "3", "-c", "rounds=0", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_clients_compute_with_one_thread_wherever_they_are(tmp_path: Path, workers: str) -> None:
    """More threads give other sums: the model would depend on the number of workers."""
    app = changed_copy(
        tmp_path / "app", "import numpy as np", "import numpy as np\nimport torch\ntorch.set_num_threads(3)"
    )
    text = (app / "tiny.py").read_text()
    # One write, so that what two processes say does not mix.
    tell = 'print(f"{} WITH {{torch.get_num_threads()}}\\n", end="", flush=True)'
    text = text.replace("    client = int(", f"    {tell.format('CLIENT')}\n    client = int(")
    text = text.replace('    print("RESULT"', f'    {tell.format("SERVER")}\n    print("RESULT"')
    (app / "tiny.py").write_text(text)
    options = ("--clients", "3", "--workers", workers)
    done = simulate(app, *options, cwd=tmp_path)
    said = [line for line in done.stdout.splitlines() if " WITH " in line]
    assert said == ["CLIENT WITH 1"] * 6 + ["SERVER WITH 3"], done.stderr


@pytest.mark.parametrize("line", ["import flwr.no_more", "from flwr.app import NoMore"])
def test_a_name_that_this_flower_lacks_is_not_asked_to_be_installed(tmp_path: Path, line: str) -> None:
    app = changed_copy(tmp_path / "app", "import json", f"import json\n{line}")
    done = simulate(app, "--clients", "3", cwd=tmp_path)
    assert done.returncode == 1
    assert f"the app was written for another version of Flower; {version('flwr')} is installed" in done.stderr
    assert "pip install" not in done.stderr


def test_mistakes_in_a_command_give_exit_code_2_and_one_message(tmp_path: Path) -> None:
    for options, told in (
        ([str(tmp_path)], f"{tmp_path} is not a Flower app: it has no pyproject.toml"),
        ([str(TINY)], f"{TINY} does not say how many clients it has; give it: --clients 10"),
        ([str(TINY), "-c", "roundz=3"], "the app has no such key"),
    ):
        done = simulate(Path(options[0]), *options[1:], cwd=tmp_path)
        assert done.returncode == 2
        assert told in done.stderr
        assert "Traceback" not in done.stderr


def test_an_app_writes_where_it_was_started_and_finds_its_own_modules_first(tmp_path: Path) -> None:
    """As under `flwr run`, whose processes keep the folder in which they were started."""
    (tmp_path / "tiny.py").write_text("raise ImportError('not the app')")
    app = changed_copy(
        tmp_path / "app", "    strategy =", "    open('written.txt', 'w').write(__file__)\n    strategy ="
    )
    done = simulate(app, "--clients", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "written.txt").read_text() == str(app / "tiny.py")


def test_without_ray_flowers_engine_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['ray'] = None\n"  # what `import ray` then raises is ModuleNotFoundError
    )
    options = ("--clients", "3", "--engine", "flower")
    done = simulate(TINY, *options, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 2
    assert 'ray is not installed; install it with: pip install "hedgerow[ray]"' in done.stderr
