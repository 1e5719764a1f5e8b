"""`hedgerow privacy`: what a plan costs, or allows."""

import json as json_format
import sys
from dataclasses import asdict

from hedgerow import checks
from hedgerow.experiments.cli.terminal import say
from hedgerow.experiments.config.errors import CommandError
from hedgerow.privacy.accounting import counted_renyi
from hedgerow.privacy.adjacency import told
from hedgerow.privacy.events import Gaussian, PoissonSampled, Skellam
from hedgerow.privacy.planning import Mechanism, Plan, solve
from hedgerow.strategies.transforms.client_noise import skellam_event

_OPTIONS = {
    "epsilon": "--epsilon", "delta": "--delta", "rounds": "--rounds",
    "noise_multiplier": "--noise", "rate": "--rate",
}  # fmt: skip


def print_plan(
    *,
    epsilon: float | None,
    delta: float | None,
    rounds: int | None,
    noise_multiplier: float | None,
    rate: float | None,
    parameters: int | None = None,
    norm: float | None = None,
    unit: float | None = None,
    adjacency: str = "zero_out",
    json: bool,
) -> None:
    """Print the five numbers, computing the missing one; what epsilon covers, and the noise.

    For Gaussian noise, or for `skellam_noise` if parameters, norm and unit are given.

    Raises:
        CommandError: not exactly one is missing, or one is out of range.
    """
    given = {
        "epsilon": epsilon, "delta": delta, "rounds": rounds,
        "noise_multiplier": noise_multiplier, "rate": rate,
    }  # fmt: skip
    missing = [name for name, value in given.items() if value is None]
    if len(missing) != 1:
        left = " ".join(_OPTIONS[name] for name in missing) or "none"
        raise CommandError(
            f"give four of {' '.join(_OPTIONS.values())}, and the fifth is computed; missing: {left}"
        )
    try:
        mechanism = _mechanism(parameters, norm, unit)
        plan = solve(
            epsilon=epsilon, delta=delta, rounds=rounds, noise_multiplier=noise_multiplier, rate=rate,
            mechanism=mechanism, adjacency=adjacency,
        )  # fmt: skip
    except ValueError as error:
        raise CommandError(str(error)) from error
    numbers, text = _noise(plan, mechanism(plan.noise_multiplier), adjacency)
    if json:
        known = {**asdict(plan), **numbers, "adjacency": adjacency}
        sys.stdout.write(json_format.dumps(known, indent=2) + "\n")
        return
    for name, value in asdict(plan).items():
        say(f"{name.replace('_', ' '):<17}{value:<12.6g}{'<- computed' * (name == missing[0])}".rstrip())
    say(f"Epsilon is about a sum {told(adjacency, 'client')}. {text}")


def _mechanism(parameters: int | None, norm: float | None, unit: float | None) -> Mechanism:
    given = {"--parameters": parameters, "--norm": norm, "--unit": unit}
    left = [name for name, value in given.items() if value is None]
    if parameters is None or norm is None or unit is None:
        if len(left) < len(given):
            raise ValueError(f"Skellam noise needs all of {' '.join(given)}; missing: {left[0]}")
        return Gaussian
    checks.whole(1, parameters=parameters)
    checks.positive(norm=norm, unit=unit)
    return lambda multiplier: skellam_event(multiplier, norm / unit, 1, parameters)


def _noise(plan: Plan, event: Gaussian | Skellam, adjacency: str) -> tuple[dict[str, float], str]:
    """The figures beside the five numbers, for machines and for people."""
    if isinstance(event, Skellam):
        return {"variance": event.variance, "l2": event.l2, "l1": event.l1}, (
            f"A client's data changes the sum by {event.l2:.6g} units (l2). Skellam noise of variance"
            f" {event.variance:.6g}, counted by Renyi divergences."
        )
    once = event if plan.rate == 1 else PoissonSampled(plan.rate, event)
    bound = counted_renyi(once, plan.rounds, plan.delta, adjacency)
    return {"renyi_epsilon": bound}, (f"By Renyi divergences alone: epsilon {bound:.4g}.")
