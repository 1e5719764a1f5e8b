"""How a pipeline step relates to masks and noise, and the conditions these put on a strategy."""

from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import MOST_CLIENTS
from hedgerow.strategies.conditions import Condition, excludes, needs
from hedgerow.strategies.release import Noise, ServerClip


@dataclass(frozen=True)
class Protection:
    """How a step relates to masks and noise; by default not at all.

    Attributes:
        max_int: largest absolute value of the integers after the step, from that
            before it; 0 if the values are not integers. It determines the ring of
            a mask.
        max_sum: largest absolute value of a sum of the integers after the step,
            from that before it and the numbers of clients and values; `None`
            if it is the number of clients times the largest integer.
        secure: for a mask: what clients require.
        server_clip: for a clip: its server side.
        noise: for noise: what is added to a sum, and its event for the ledger.
    """

    max_int: Callable[[int], int] = lambda largest: largest
    max_sum: Callable[[int, int, int], int] | None = None
    secure: SecureAggregation | None = None
    server_clip: ServerClip | None = None
    noise: Noise | None = None

    @property
    def traits(self) -> frozenset[str]:
        """The traits that it gives to a pipeline."""
        adaptive = self.server_clip is not None and self.server_clip.share > 0
        named = {
            "whole numbers": self.max_int(0) > 0,
            "mask": self.secure is not None,
            "bounded": self.server_clip is not None,
            "adaptive clip": adaptive,
            "noise": self.noise is not None and not self.noise.min_honest,
            "discrete noise": self.noise is not None and self.noise.min_honest > 0,
        }
        return frozenset(name for name, holds in named.items() if holds)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions that it puts on the strategy."""
        found: list[Condition] = []
        if self.max_int(0):
            found.append(_SUMMED)
        if self.secure is not None:
            found += _MASKED
        if self.noise is not None:
            found += _noised(self.noise)
        if self.server_clip is not None and self.server_clip.share:
            found.append(_ASKED)
        return tuple(found)


_SUMMED = needs(
    "mask",
    "noise",
    "discrete noise",
    reason="{pipeline.name} has a range, and so sends integers for a mask to sum;"
    " put mask() after it, or leave out the range",
)


_MASKED = (
    needs(
        "whole numbers",
        reason="{pipeline.name} masks values that are not whole numbers, and masks cancel only for"
        " whole numbers of the same scale; put a quantiser with a range before the mask, such as"
        " quantize(8, range=0.1)",
    ),
    needs(
        "mean",
        reason="{aggregate.name} needs each client's update, and {pipeline.name} lets the server see only"
        " their sum; use mean(), or a pipeline without a mask",
    ),
    excludes(
        "max_norm",
        reason="max_norm needs each client's update, and {pipeline.name} lets the server see only"
        " their sum; clip on the clients instead",
    ),
    excludes(
        "norm_bound",
        reason="norm_bound needs each client's update, and {pipeline.name} lets the server see only"
        " their sum; leave it out",
    ),
    Condition(
        lambda strategy: (strategy.sampling.most_clients or 0) > MOST_CLIENTS,
        "a cohort of {sampling.name} may have {sampling.most_clients} clients, and a mask allows at most"
        f" {MOST_CLIENTS}; ask fewer clients",
    ),
)

_BOUNDED = needs(
    "bounded",
    reason="{pipeline.name} has noise but no clip: nothing bounds a client's update; put clip(...) first",
)

_BY_THE_SERVER = excludes(
    "mask",
    reason="{pipeline.name} leaves the noise to the server, which under a mask cannot bound what a client"
    " adds, or the effect of rounding; let clients add the noise: secure_dp_fedavg, or"
    " chain(clip(...), randomized_round(...), distributed_noise(...), mask())",
)

_UNCOUNTED = (
    "the accounting does not hold for {sampling.name}: it needs clients that are drawn independently and"
    " a cohort whose expected size is public; use poisson(...) or cyclic(...)"
)

_COUNTED = (
    excludes(
        "weight",
        reason="{pipeline.name} weights clients: a weight scales a clipped update past its bound; leave"
        " it out, with weighted=False, so that all clients count the same",
    ),
    excludes(
        "stateful",
        reason="{pipeline.name} keeps state on the clients, so an update also affects later rounds, which"
        " are counted without it; leave out error_feedback",
    ),
    needs("independent", "turns", reason=_UNCOUNTED),
    needs("public size", reason=_UNCOUNTED),
)

_BY_CLIENTS = (
    needs(
        "turns",
        reason="noise from the clients protects them from the server, which knows whom {sampling.name} drew;"
        " use cyclic(clients, population=...), which does not rely on secret sampling",
    ),
    needs(
        "quantize",
        reason="{pipeline.name} adds integer noise to values that are not integers;"
        " put randomized_round(...) first",
    ),
    needs(
        "summable",
        reason="{pipeline.name} reveals without noise which values a client chose to send; leave out top_k",
    ),
    excludes(
        "adaptive clip",
        reason="{pipeline.name} adapts its norm to single clients' answers, which must stay hidden; use"
        " clip(...)",
    ),
)

_RELEASED = (
    needs("mean", reason="noise is calibrated to a sum, and {aggregate.name} is not one; use mean()"),
    excludes(
        "quorum",
        reason="a quorum would reveal how many clients took part; leave it out: private rounds always count",
    ),
    excludes(
        "norm_bound",
        reason="norm_bound depends on the clients' norms and would reveal them without noise; leave it out:"
        " {pipeline.name} bounds each client",
    ),
    needs(
        "budget",
        reason="no delta is given: give budget=Budget(delta=...), well below 1 / clients",
    ),
)

_ASKED = needs(
    "noise",
    "discrete noise",
    reason="{pipeline.name} reveals the clients' norms without noise; add gaussian_noise(...)",
)


def _noised(noise: Noise) -> list[Condition]:
    """The conditions under which the ledger is correct."""
    by = _BY_CLIENTS if noise.min_honest else ()
    alone = () if noise.min_honest else (_BY_THE_SERVER,)
    return [_BOUNDED, *alone, *_COUNTED, *by, *_banded(len(noise.bands)), *_RELEASED]


def _banded(bands: int) -> tuple[Condition, ...]:
    if bands == 1:
        return ()
    return (
        Condition(
            lambda strategy: bands > (strategy.sampling.groups or 1),
            f"noise is subtracted again over {bands} rounds, and {{sampling.name}} lets a client be in two;"
            f" use cyclic(clients, population=...) with a population of at least {bands} times the clients",
        ),
        excludes(
            "adaptive clip",
            reason="correlated noise needs the same norm in every round, and {pipeline.name} adapts it; use"
            " clip(...)",
        ),
    )
