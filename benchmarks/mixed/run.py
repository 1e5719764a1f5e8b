"""A device with torch and two without it, one of them on arm64, in one federation: what they send and learn.

    python benchmarks/mixed/run.py [--rounds 10]

Environments are made anew, from the wheel; the arm64 one needs what `tests/installs/arm64.py` can bring, and
is replaced by one of this machine's where it cannot, which the page then says. Ends with an error where a
promise does not hold. Writes results.json and README.md beside this file.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]

from benchmarks import about  # noqa: E402
from tests.installs import arm64  # noqa: E402
from tests.installs.environments import build_wheel, install, interpreter  # noqa: E402
from tests.installs.mixed import EXACT, ROWS, on_arm64, played, with_torch, without_torch  # noqa: E402


def main() -> None:
    """Carry it out, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hedgerow-mixed-") as folder:
        place, began = Path(folder), time.monotonic()
        wheel = build_wheel(place / "wheel")
        bare = without_torch(install(interpreter(place / "python"), place / "onnx", wheel, "onnx"))
        without = arm64.why_not()
        other = bare if without else on_arm64(arm64.Arm64.made().with_hedgerow(place / "arm64"))
        if without:
            print(without, flush=True)
        (place / "home").mkdir()
        places = {"attic": with_torch(), "barn": bare, "pi": other}
        found = played(place / "home", places, given.rounds)
        results = {
            **about.about("flwr", "numpy", "onnxruntime", "torch"), **found,
            "without": without, "minutes": round((time.monotonic() - began) / 60, 1),
        }  # fmt: skip
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "README.md").write_text(page(results))
    print(page(results))


def page(results: dict[str, Any]) -> str:
    """The results as a page."""
    devices = "\n".join(f"- `{name}`: {kind}" for name, kind in results["devices"].items())
    devices += f"\n\n{results['without']}" if results["without"] else ""
    rows = [row(run, outcome) for run, outcome in results["runs"].items()]
    wire = results["travelled"] - 1
    return f"""# With torch, without it, and on arm64, in one federation

`hedgerow up` with its gateway, TLS and enrolled keys, and three devices that have joined it:

{devices}

Those without torch have environments of their own, made from the wheel, and train by one signed graph,
fetched once. Four runs of {results["rounds"]} rounds: an MLP of {results["parameters"]:,} parameters, and a
table of {ROWS} rows on each device.

| updates | furthest from the simulated model | accuracy | simulated, three seeds | bytes up |
|---|---|---|---|---|
{chr(10).join(rows)}

- Every device counted in every round, and was asked once for each stage of it.
- `hedgerow replay` gives each run's model, bit for bit.
- Where nothing is lost on the way, the model is the simulated one to 1e-5. Elsewhere its accuracy, on a
  table that no device has, differs from that of the simulation of the same seed by no more than three seeds
  of it do.
- Every device's environment was given all updates of the `{EXACT}` run, and made {results["replies"]} replies
  of them, as each of the four runs sends them: byte for byte the same in all environments.
- In a first round every run starts from the same model. The {wire} replies that travelled then without a
  mask, and the sum of those under it, are byte for byte what this machine makes of the same updates.

{about.line(results)} {results["minutes"]} minutes. `make devices` writes this page.
"""


def row(run: str, outcome: dict[str, Any]) -> str:
    """A run's line of the table."""
    there = ", ".join(f"{100 * each:.1f}" for each in outcome["simulated"])
    up = statistics.fmean(outcome["bytes_up"].values())
    return f"| {run} | {outcome['distance']:.1g} | {100 * outcome['accuracy']:.1f} % | {there} | {up:,.0f} |"


if __name__ == "__main__":
    main()
