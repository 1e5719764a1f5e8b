"""`hedgerow privacy`: what a plan costs, or allows."""

import json as json_format
import sys
from dataclasses import asdict

from hedgerow.experiments.errors import CommandError
from hedgerow.experiments.terminal import say
from hedgerow.privacy.accounting import renyi_epsilon, solve
from hedgerow.privacy.events import Gaussian, PoissonSampled

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
    json: bool,
) -> None:
    """Print the five numbers, the one that was left out computed; and another proof of epsilon.

    Raises:
        CommandError: not exactly one was left out, or one is out of range.
    """
    given = {
        "epsilon": epsilon, "delta": delta, "rounds": rounds,
        "noise_multiplier": noise_multiplier, "rate": rate,
    }  # fmt: skip
    missing = [name for name, value in given.items() if value is None]
    if len(missing) != 1:
        left = " ".join(_OPTIONS[name] for name in missing) or "none"
        raise CommandError(
            f"give four of {' '.join(_OPTIONS.values())}, and the fifth is computed; left out: {left}"
        )
    try:
        plan = solve(
            epsilon=epsilon, delta=delta, rounds=rounds, noise_multiplier=noise_multiplier, rate=rate
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    gaussian = Gaussian(plan.noise_multiplier)
    event = gaussian if plan.rate == 1 else PoissonSampled(plan.rate, gaussian)
    bound = renyi_epsilon([event] * plan.rounds, plan.delta)
    if json:
        sys.stdout.write(json_format.dumps({**asdict(plan), "renyi_epsilon": bound}, indent=2) + "\n")
        return
    for name, value in asdict(plan).items():
        say(f"{name.replace('_', ' '):<17}{value:<12.6g}{'<- computed' * (name == missing[0])}".rstrip())
    say(f"Adding or removing one client, with all its data. By Renyi divergences alone: epsilon {bound:.4g}.")
