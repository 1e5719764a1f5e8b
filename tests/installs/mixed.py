"""Devices of unlike environments in one federation, and what must hold of their runs."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors.numpy import load_file

from hedgerow.client.graph_rules import GraphRules
from hedgerow.client.policy_file import policy_text
from hedgerow.coordinator.ports import free_port
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.replay import replay_run
from hedgerow.experiments.runs.run import run_experiment
from hedgerow.experiments.runs.simulate import measuring_trainer
from hedgerow.experiments.runs.store import RunFolder
from hedgerow.graphs.offer import read_signed
from hedgerow.recipe.strategy import describe
from hedgerow.ring.vector import RingSum, read_vector
from hedgerow.server.checkpoint import load_model
from hedgerow.server.masked_collector import StartMasked
from hedgerow.server.recording import FOLDER, Recorder, pack, unpack
from hedgerow.types import Samples
from hedgerow.types.recording import Recording
from hedgerow.wire.messages import unpack_vector
from hedgerow.wire.replies import unpack_reply
from tests.engines.federation.coordinated import HEDGEROW, Coordinated, coordinated
from tests.engines.federation.devices import OPEN, RECIPE, write_clinics
from tests.installs import sent
from tests.installs.arm64 import Arm64Environment
from tests.installs.environments import ROOT, Environment, running

Runs = Mapping[str, Sequence[str]]

EXACT, MASKED = "float32", "masked"
RUNS: Runs = {
    EXACT: ["strategy.pipeline=float32()"],
    "8 bits": ["strategy.pipeline=quantize(8)"],
    "top 1 %": ["strategy.pipeline=error_feedback(top_k(0.01))"],
    MASKED: ["strategy.name=secure_fedavg", "strategy.min_clients=3", "strategy.dropout=0.0",
             "strategy.corrupt=0.0"],
}  # fmt: skip
"""First the only one without a step that loses something: what devices send in the others is held to it."""

TRAINING = [
    "model.name=mlp-2nn", "model.hidden=32", "run.trainer=loop", "local.batch_size=16", "local.momentum=0.9",
    "local.learning_rate=0.05",
]  # fmt: skip
SEEDS = (sent.SEED, 1, 2)
ROWS, TESTED = 200, "tested"
PATIENCE = 600.0  # seconds for a round: an emulated processor, on a machine that is not its own


class Joins(Protocol):
    """A device of whatever kind; `kind` says in words which."""

    @property
    def kind(self) -> str: ...

    def joined(self, real: Coordinated, name: str) -> AbstractContextManager[Any]:
        """Join by this name, and take part until the end of the context."""


@dataclass(frozen=True)
class Place:
    """Where a device's process runs.

    Attributes:
        kind: in words.
        hedgerow: how the command is given.
        python: how a program of Python's is started.
        variables: of the environment.
    """

    kind: str
    hedgerow: Sequence[str]
    python: Sequence[str]
    variables: Mapping[str, str]

    def joined(self, real: Coordinated, name: str) -> AbstractContextManager[Any]:
        """A device's process, which takes graphs that are signed by the key that signed the run's."""
        _, offer = read_signed(real.home / "graphs")
        policy = real.home / f"{name}.policy"
        rules = GraphRules(keys=(offer.key,), in_the_clear=True)
        policy.write_text(policy_text(replace(OPEN, graphs=rules)))
        given = ["--data", str(real.home / f"{name}.csv"), "--policy", str(policy)]
        command = ["join", str(real.invite(name)), *given, "--folder", str(real.home / f"device-{name}")]
        return running([*self.hedgerow, *command], real.home / f"{name}.log", self.variables)


def with_torch() -> Place:
    """The environment that the tests run in."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return Place("torch", [HEDGEROW], [sys.executable], variables)


def without_torch(made: Environment) -> Place:
    """An environment with the extra `onnx`."""
    return Place("ONNX Runtime", [made.hedgerow], [made.python], made.variables())


def on_arm64(made: Arm64Environment) -> Place:
    """The same on another processor."""
    python = [str(made.root.python)]
    return Place("ONNX Runtime, arm64 under qemu", made.command(), python, made.variables())


def played(
    home: Path, places: Mapping[str, Joins], rounds: int, runs: Runs = RUNS, options: Sequence[str] = ()
) -> dict[str, Any]:
    """Carry out each run on the same devices, hold all of them to what is promised, and say what was found.

    Args:
        home: an empty folder.
        places: where each device runs, by its name.
        rounds: of each run.
        runs: overrides of the recipe, by name.
        options: of `hedgerow up`, in the first of them.
    """
    (home / "clinics.toml").write_text(RECIPE)
    write_clinics(home, [*places, TESTED], ROWS)
    with coordinated(home, str(home / "clinics.toml"), [], free_port()) as real, ExitStack() as devices:
        real.command("export", real.recipe, *TRAINING, "--out", "graphs", "--sign", "signing.key")
        for run, chosen in runs.items():
            given = [*overrides(chosen, rounds), f"server.deadline={PATIENCE}", "--graphs", "graphs"]
            real.overrides = [*given, *(options if run == EXACT else ())]
            real.start()
            if run == EXACT:
                real.wait_until_it_serves()
                for name, place in places.items():
                    devices.enter_context(place.joined(real, name))
            real.wait_for_the_end(rounds * PATIENCE)
            real.run.path.rename(home / run)
    processes = {name: place for name, place in places.items() if isinstance(place, Place)}
    all_took_part_once(home, places, processes, rounds, runs)
    found = {run: outcome(home, run, places, rounds, runs) for run in runs}
    return {
        "rounds": rounds,
        "parameters": write_updates(home, runs),
        "devices": {name: place.kind for name, place in places.items()},
        "runs": found,
        "replies": same_replies(home, processes),
        "travelled": same_as_travelled(home, runs),
    }


def overrides(chosen: Sequence[str], rounds: int, *more: str) -> list[str]:
    return [*TRAINING, *chosen, f"rounds={rounds}", "run.record=true", *more]


def all_took_part_once(
    home: Path, places: Collection[str], processes: Collection[str], rounds: int, runs: Runs
) -> None:
    """Everybody counted in every round, and nobody was asked twice."""
    for run in runs:
        lines = [line for line in RunFolder(home / run).rounds() if line["round"]]
        assert [line["round"] for line in lines] == [*range(1, rounds + 1)]
        for line in lines:
            assert (line["failed"], line["dropped"], set(line["clients"])) == ("", {}, {*places}), line
    masked = sum(load(home / run).strategy().pipeline.sum_only for run in runs)
    for name in processes:
        said = (home / f"{name}.log").read_text()
        answered = Counter(re.findall(r"answered train(\S*) of round (\d+) in", said))
        stages = {stage for stage, _ in answered}
        assert len(stages) == (6 if masked else 1), said  # plain, and the five of a masked round
        times = {stage: masked if stage else len(runs) - masked for stage in stages}
        wanted = {(stage, str(n)): times[stage] for stage in stages for n in range(1, rounds + 1)}
        assert answered == wanted, said


def outcome(home: Path, run: str, places: Collection[str], rounds: int, runs: Runs) -> dict[str, Any]:
    """What became of a run, beside simulated ones of the same devices' files."""
    again = replay_run(home / run)
    assert (again.first, again.last, again.same) == (0, rounds, True), again
    files = "data.files=" + json.dumps([str(home / f"{name}.csv") for name in places])
    simulated = [
        run_experiment(
            load(str(home / "clinics.toml"), overrides(runs[run], rounds, files, f"seed={seed}")),
            home / f"{run} alone {seed}",
        ).path
        for seed in SEEDS
    ]
    far = distance(home / run, simulated[0])
    here, *there = (accuracy(home, each) for each in (home / run, *simulated))
    if run == EXACT:
        assert far <= 1e-5
    elif not load(home / run).strategy().private:  # with noise, two runs are as good as it lets them be
        assert abs(here - there[0]) <= max(there) - min(there), (here, there)
    lines = [line for line in RunFolder(home / run).rounds() if line["round"]]
    return {
        "distance": far, "accuracy": here, "simulated": there,
        "bytes_up": {name: lines[-1]["clients"][name]["bytes_up"] for name in places},
        "seconds": float(np.median([line["seconds"] for line in lines])),
    }  # fmt: skip


def distance(one: Path, other: Path) -> float:
    """The largest difference between two runs' models."""
    ours, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert set(ours) == set(theirs)
    return float(max(np.abs(values - theirs[name]).max() for name, values in ours.items()))


def accuracy(home: Path, run: Path) -> float:
    """Of a run's model, on a table that no device has."""
    experiment = load(str(home / "clinics.toml"), [*TRAINING, f'data.files=["{home / TESTED}.csv"]'])
    samples: Samples = experiment.federation().samples(TESTED)
    trainer = measuring_trainer(experiment)
    return trainer.evaluate(load_model(run, trainer.layout), samples)["accuracy"]


def recorded(home: Path, run: str) -> list[Recording]:
    experiment = load(home / run)
    return list(Recorder(home / run / FOLDER, measuring_trainer(experiment).layout, sent.SEED).read())


def write_updates(home: Path, runs: Runs) -> int:
    """What the devices have learned in each round of the exact run, for `sent`; of how many values."""
    rounds = [{name: unpack(reply) for name, reply in each.replies.items()} for each in recorded(home, EXACT)]
    about = {
        name: [{"examples": each[name].num_examples, "metrics": dict(each[name].metrics)} for each in rounds]
        for name in rounds[0]
    }
    updates = {name: np.stack([each[name].payload.arrays["values"] for each in rounds]) for name in about}
    np.savez(home / "updates.npz", **updates)
    (home / "about.json").write_text(json.dumps(about))
    described = {run: describe(load(home / run).strategy()) for run in without_noise(home, runs)}
    (home / "strategies.json").write_text(json.dumps(described))
    return int(updates[next(iter(about))].shape[1])


def without_noise(home: Path, runs: Runs) -> list[str]:
    """Those in which devices send what follows from their updates alone."""
    return [run for run in runs if not load(home / run).strategy().private]


def same_replies(home: Path, places: Mapping[str, Place]) -> int:
    """How many replies every device's environment makes of these updates, all equal byte for byte."""
    made = {}
    for name, place in places.items():
        done = subprocess.run(
            [*place.python, sent.__file__, str(home)], env=place.variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made[name] = json.loads(done.stdout)
    first, *others = made.values()
    assert all(other == first for other in others), made
    assert len(set(first.values())) == len(first)
    return len(first)


def same_as_travelled(home: Path, runs: Runs) -> int:
    """How many replies that came from devices are those that this environment makes of the same updates.

    In a first round every run starts from the same model, and devices learn the same in it.
    """
    begun = {run: recorded(home, run)[0] for run in without_noise(home, runs)}
    experiment = load(home / MASKED)
    layout = measuring_trainer(experiment).layout
    shape = StartMasked(experiment.strategy(), layout, sent.SEED).shape(len(begun[EXACT].replies))
    total, same = RingSum(shape), 0
    for run, device, round, content in sent.sent(home):
        if round > 1:
            continue
        if run == MASKED:
            total.add(read_vector(unpack_vector(content), shape))
            continue
        reply = unpack_reply(content, layout, round=1, client=device, max_weight=1e9)
        assert pack(reply) == begun[run].replies[device], (run, device)
        same += 1
    arrays = begun[MASKED].arrays
    assert shape.ring.reduced(total.values).tobytes() == arrays["values"].tobytes()
    assert total.words.tobytes() == arrays["words"].tobytes()
    return same + 1
