"""Ctrl-C while a command is still being loaded."""

import signal
import subprocess
import sys

import pytest

from hedgerow.experiments.cli.imports import loaded_whole

INTERRUPTED = """
import sys
class Interrupted:
    def find_spec(self, name, *others):
        if name == "hedgerow.experiments.cli.main":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from hedgerow.experiments.cli.start import main
main()
"""


def test_ctrl_c_while_the_command_is_loaded_ends_it_without_a_traceback() -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ctrl_c_waits_until_what_is_imported_is_there() -> None:
    there, before = [], signal.getsignal(signal.SIGINT)

    def load() -> None:
        with loaded_whole():
            signal.raise_signal(signal.SIGINT)
            there.append("torch")

    with pytest.raises(KeyboardInterrupt):
        load()
    assert there == ["torch"]
    assert signal.getsignal(signal.SIGINT) is before
    with loaded_whole():
        there.append("more")
    assert there == ["torch", "more"]
