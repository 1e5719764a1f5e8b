"""What a step of the pipeline has to do with masks and noise, and what these ask of a strategy."""

from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.ring.secagg import SecureAggregation
from hedgerow.ring.vector import MOST_CLIENTS
from hedgerow.strategies.conditions import Condition, excludes, needs
from hedgerow.strategies.release import Noise, ServerClip


@dataclass(frozen=True)
class Protection:
    """What a step has to do with masks and noise; by default nothing.

    Attributes:
        max_int: the largest size of the whole numbers after the step, from that
            before it; 0 where the values are not whole numbers. The ring of a
            mask follows from it.
        max_sum: the largest size of a sum of whole numbers after the step,
            from that before it and the numbers of clients and values; `None`
            where it is the number of clients times the largest.
        secure: of a mask: what clients insist on.
        server_clip: of a clip: its half on the server.
        noise: of a noise: what is added to a sum, and the event that this is to the ledger.
    """

    max_int: Callable[[int], int] = lambda largest: largest
    max_sum: Callable[[int, int, int], int] | None = None
    secure: SecureAggregation | None = None
    server_clip: ServerClip | None = None
    noise: Noise | None = None

    @property
    def traits(self) -> frozenset[str]:
        """The traits that it gives a pipeline."""
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
        """What it requires of the strategy."""
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
    reason="{pipeline.name} has a range, and sends whole numbers for a mask to sum;"
    " put mask() after it, or leave out the range",
)


_MASKED = (
    needs(
        "whole numbers",
        reason="{pipeline.name} masks values that are not whole numbers, and masks cancel only in"
        " whole numbers of one scale; put a quantiser with a range before the mask, such as"
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
        "a cohort of {sampling.name} may have {sampling.most_clients} clients, and a mask is for at most"
        f" {MOST_CLIENTS}; ask fewer clients",
    ),
)

_BOUNDED = needs(
    "bounded",
    reason="{pipeline.name} has noise and no clip: nothing bounds what a client says; put clip(...) first",
)

_BY_THE_SERVER = excludes(
    "mask",
    reason="{pipeline.name} leaves the noise to the server, which under a mask cannot bound what a client"
    " adds, nor what rounding does to it; let clients add the noise: secure_dp_fedavg, or"
    " chain(clip(...), randomized_round(...), distributed_noise(...), mask())",
)

_UNCOUNTED = (
    "the accounting does not hold for {sampling.name}: it needs each client drawn independently and"
    " a cohort whose expected size is public; use poisson(...) or cyclic(...)"
)

_COUNTED = (
    excludes(
        "weight",
        reason="{pipeline.name} weights clients: a weight scales a clipped update past its bound; leave it"
        " out, with weighted=False, so that all clients count the same",
    ),
    excludes(
        "stateful",
        reason="{pipeline.name} keeps something on the clients from round to round, which shows in rounds"
        " that are counted as without them; leave out error_feedback",
    ),
    needs("independent", "turns", reason=_UNCOUNTED),
    needs("public size", reason=_UNCOUNTED),
)

_BY_CLIENTS = (
    needs(
        "turns",
        reason="noise from the clients protects them from whoever sums, who knows whom {sampling.name} drew;"
        " use cyclic(clients, population=...), and no chance is counted on",
    ),
    needs(
        "quantize",
        reason="{pipeline.name} adds whole numbers of noise to numbers that are not;"
        " put randomized_round(...) first",
    ),
    needs(
        "summable",
        reason="{pipeline.name} tells without noise which values a client chose to send; leave out top_k",
    ),
    excludes(
        "adaptive clip",
        reason="{pipeline.name} adapts its norm to single clients, which nobody must see; use clip(...)",
    ),
)

_RELEASED = (
    needs("mean", reason="noise is measured for a sum, and {aggregate.name} is not one; use mean()"),
    excludes(
        "quorum",
        reason="a quorum would tell how many clients were there; leave it out: a private round always counts",
    ),
    excludes(
        "norm_bound",
        reason="norm_bound follows from the clients' norms, which would be told without noise; leave it out:"
        " {pipeline.name} bounds each client",
    ),
    needs(
        "budget",
        reason="delta is not chosen: give budget=Budget(delta=...), well below 1 / clients",
    ),
)

_ASKED = needs(
    "noise",
    "discrete noise",
    reason="{pipeline.name} tells the clients' norms without noise; add gaussian_noise(...)",
)


def _noised(noise: Noise) -> list[Condition]:
    """What would make the ledger untrue."""
    by = _BY_CLIENTS if noise.min_honest else ()
    alone = () if noise.min_honest else (_BY_THE_SERVER,)
    return [_BOUNDED, *alone, *_COUNTED, *by, *_banded(len(noise.bands)), *_RELEASED]


def _banded(bands: int) -> tuple[Condition, ...]:
    if bands == 1:
        return ()
    return (
        Condition(
            lambda strategy: bands > (strategy.sampling.groups or 1),
            f"noise is taken off again over {bands} rounds, and {{sampling.name}} lets a client be in two;"
            f" use cyclic(clients, population=...) with a population of at least {bands} times the clients",
        ),
        excludes(
            "adaptive clip",
            reason="correlated noise needs the same norm in every round, and {pipeline.name} adapts it; use"
            " clip",
        ),
    )
