"""Kills at every place that a federation's processes pass, and at moments drawn by chance; what they cost.

    python -m tests.engines.federation.campaign [--random 100] [--way NAME ...] [--minutes 60]

Writes benchmarks/survival/results.json and README.md: for each kind of process how many kills there were, and
how much later than usual the next round ended. An hour or two for each way on two free cores; `make
survival` runs it. With `--minutes` a way ends after so many, and is written down with the places that are
left; the next call goes on with those.
"""

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks import about
from hedgerow.experiments.config.recipe import load
from hedgerow.experiments.runs.replay import replay_run
from hedgerow.experiments.runs.run import run_experiment
from tests.engines.federation.survival import MOST_LATE, NAMES, WAYS, Survivors, survivors, trainer_here

FOLDER = Path(__file__).parents[3] / "benchmarks" / "survival"


def check_model(found: Survivors, way: str) -> list[int]:
    """The model is that of an undisturbed run, bit for bit, but for rounds that failed by name; those.

    Where a round has failed or gone without a device, the model is what the recorded replies come to.
    """
    run, overrides = found.real.run, [*found.real.overrides]
    lines = run.rounds()
    named = [line["round"] for line in lines if line["failed"] or line["dropped"]]
    if named and WAYS[way][-1] == "run.record=true":
        assert replay_run(run.path).same, "the recorded rounds give another model"
        return named
    with trainer_here(found.home):
        files = f"data.files={[str(file) for file in found.files]}"
        expected = run_experiment(load(found.real.recipe, [*overrides, files]), found.home / "undisturbed")
    differs = [
        (line["round"], line["evaluation"], line["metrics"], line["dropped"], line["failed"])
        for line, other in zip(lines, expected.rounds(), strict=True)
        if line["metrics"] != other["metrics"] or line["dropped"] or line["failed"]
    ]
    assert not differs, differs[:3]
    assert run.model.read_bytes() == expected.model.read_bytes()
    return []


def at_every_place(
    way: str,
    home: Path,
    known: Mapping[str, Any] = MappingProxyType({}),
    *,
    seconds: float = math.inf,
    by_chance: int = 0,
) -> dict[str, Any]:
    """A federation that is killed at each place, in an order drawn by chance, and then at any moment.

    Args:
        way: which recipe.
        home: an empty folder.
        known: what an earlier call has come to; its places are left out.
        seconds: after which no further process is killed; as many more for places that are passed once.
        by_chance: kills at any moment, once all places are done.
    """
    done = {loss["place"] for loss in known.get("places", ())}
    done.update(known.get("only_at_first", ()), known.get("never_again", ()))
    with survivors(home / "running", way) as found:
        wait_for_more_places(found)
        every, left, end = found.places(), [], time.monotonic() + seconds
        places = [place for place in every if place not in done]
        random.Random(0).shuffle(places)
        for number, place in enumerate(places, 1 + len(every) - len(places)):
            if time.monotonic() > end:
                break
            killed = found.kill_at(place)
            if not killed:
                left.append(place)
            cost = f"{found.losses[-1].seconds:.1f} s" if killed else "not passed again"
            print(f"{way}: {number} of {len(every)}: {place}: {cost}", flush=True)
            done.add(place)
        at_places, not_done = list(found.losses), [place for place in every if place not in done]
        by_chance = 0 if not_done else by_chance
        chance = random.Random(0)
        for _ in range(by_chance):
            kill_by_chance(found, chance)
        found.finish()
        failed = check_model(found, way)
        by_chance_losses = found.losses[len(at_places) :]
    at_first, never = [], []
    for number, place in enumerate(left):  # passed when all is new, or when all ends
        if time.monotonic() > end + seconds:
            not_done += left[number:]
            break
        with survivors(home / f"first-{number}", way, armed=place) as found:
            (never if (found.home / "killing" / "armed").exists() else at_first).append(place)
    now = {
        "failed_rounds": failed, "only_at_first": at_first, "never_again": never,
        "places": [asdict(loss) for loss in at_places],
        "by_chance": [asdict(loss) for loss in by_chance_losses],
    }  # fmt: skip
    whole = {name: [*known.get(name, ()), *new] for name, new in now.items()}
    return {"way": way, "not_done": not_done, **whole}


def wait_for_more_places(found: Survivors) -> None:
    """Until two rounds have passed no place that is new."""
    known, since = 0, found.real.rounds()
    while found.real.rounds() < since + 2:
        if len(found.places()) != known:
            known, since = len(found.places()), found.real.rounds()
        time.sleep(0.2)


def kill_by_chance(found: Survivors, chance: random.Random) -> None:
    """Kill any process at any moment."""
    time.sleep(chance.uniform(0, 2 * found.seconds_a_round()))
    role = chance.choice(("supervisor", "serverapp", "gateway", "superlink", *NAMES))
    with suppress(ProcessLookupError):
        found.kill(role)
    found.wait_for_a_round(f"{'node' if role in NAMES else role} by chance")


def summary(ways: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for each role: kills, and the seconds that they cost."""
    by_role: defaultdict[str, list[float]] = defaultdict(list)
    for way in ways:
        for loss in (*way["places"], *way["by_chance"]):
            by_role[loss["place"].partition(" ")[0]].append(loss["seconds"])
    return [
        {
            "role": role, "kills": len(by_role[role]), "median": round(statistics.median(by_role[role]), 1),
            "most": round(max(by_role[role]), 1), "may": MOST_LATE[role],
        }
        for role in MOST_LATE
        if by_role[role]
    ]  # fmt: skip


def page(ways: Sequence[Mapping[str, Any]]) -> str:
    """The results as a page."""
    rows = [
        f"| {row['role']} | {row['kills']} | {row['median']} s | {row['most']} s | {row['may']:g} s |"
        for row in summary(ways)
    ]
    each = [
        f"| {way['way']} | {len(way['places'])} and {len(way['by_chance'])} | {len(way['not_done'])}"
        f" | {len(way['failed_rounds'])}"
        f" | {way['load_average']} | {about.line(way['about'])} |"
        for way in ways
    ]
    return "\n".join(
        [
            "# Kills, and what they cost",
            "",
            "`make survival`: four devices and their coordinator on one machine; a process is killed (-9)",
            "before and after each write and stage, one at a time, and at moments drawn by chance. Seconds",
            "are those by which the next round ended later than usual; Flower's own processes are the",
            "SuperLink and the SuperExec.",
            "",
            "| process | kills | in the middle | most | may take |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "The models are those of undisturbed runs, bit for bit, but for rounds that failed by name:",
            "",
            "| way | kills at places, and by chance | places left | failed rounds | load before and after"
            " | measured |",
            "|---|---|---|---|---|---|",
            *each,
            "",
        ]
    )


def main() -> None:
    """Measure, and write it down."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--random", type=int, default=100)
    given.add_argument("--way", action="append", choices=list(WAYS))
    given.add_argument(
        "--minutes", type=float, default=math.inf, help="of each way, before it is written down"
    )
    given.add_argument("--out", type=Path, default=FOLDER)
    options = given.parse_args()
    ways, file = options.way or list(WAYS), options.out / "results.json"
    found = {way["way"]: way for way in json.loads(file.read_text())} if file.exists() else {}
    options.out.mkdir(parents=True, exist_ok=True)
    for way in ways:
        before = os.getloadavg()[0]
        with tempfile.TemporaryDirectory() as place:
            by_chance = -(-options.random // len(WAYS))
            known = found.get(way, {})
            measured = at_every_place(
                way, Path(place), known, seconds=60 * options.minutes, by_chance=by_chance
            )
        load_average = f"{before:.1f}, {os.getloadavg()[0]:.1f}"
        measured |= {"about": about.about("hedgerow", "flwr"), "load_average": load_average}
        found[way] = measured
        done = [found[name] for name in WAYS if name in found]
        file.write_text(json.dumps(done, indent=1) + "\n")
        (options.out / "README.md").write_text(page(done))
    print(page(done))


if __name__ == "__main__":
    main()
