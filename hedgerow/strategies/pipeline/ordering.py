"""Which step may follow which: an impossible order is refused, with the reason and a remedy."""

from collections.abc import Sequence
from itertools import combinations

from hedgerow.strategies.pipeline.transform import Transform

KINDS = ("weight", "normalize", "clip", "noise", "feedback", "sparsify", "quantize", "discrete noise", "mask")

# (first, then): why `then` cannot follow `first`, and what to do instead.
_REFUSED: dict[tuple[str, str], tuple[str, str]] = {
    ("quantize", "normalize"): ("packed codes cannot be divided", "put it first"),
    ("noise", "normalize"): ("the noise would be divided too", "put it first"),
    ("discrete noise", "normalize"): ("its noise is in whole steps", "put it first"),
    ("mask", "normalize"): ("masked values cannot be divided", "put it first"),
    ("quantize", "quantize"): ("the values are quantised already", "keep one of the two"),
    ("sparsify", "sparsify"): ("the indices of the first would be lost", "keep one of the two"),
    ("quantize", "sparsify"): ("packed codes have no order", "put the sparsifier first"),
    ("quantize", "clip"): ("packed codes have no norm", "put the clip before it"),
    ("quantize", "noise"): ("packed codes take no real-valued noise", "put the noise before it"),
    ("noise", "clip"): ("the noise would be calibrated to no bound", "put the clip first"),
    ("noise", "noise"): ("the ledger counts one noise per round", "keep one of the two"),
    ("noise", "discrete noise"): ("the ledger counts one noise per round", "keep one of the two"),
    ("noise", "feedback"): (
        "a residual affects rounds in which its client does not take part",
        "leave out error_feedback",
    ),
    ("discrete noise", "noise"): ("the ledger counts one noise per round", "keep one of the two"),
    ("discrete noise", "discrete noise"): ("the ledger counts one noise per round", "keep one of the two"),
    ("discrete noise", "clip"): ("the noise would be calibrated to no bound", "put the clip first"),
    ("discrete noise", "quantize"): ("its noise is in whole steps already", "put the quantizer first"),
    ("discrete noise", "sparsify"): ("noise would go to values not sent", "put the sparsifier first"),
    ("discrete noise", "feedback"): ("the residual breaks every bound", "leave out error_feedback"),
    ("quantize", "feedback"): ("packed codes have no residual", "put it inside error_feedback"),
    ("sparsify", "clip"): ("the bound would hold for the sent values only", "put the clip first"),
    ("sparsify", "noise"): ("noise on the sent values alone protects nothing", "put clip and noise first"),
    ("sparsify", "feedback"): ("its residual would miss what was dropped", "put it inside error_feedback"),
    ("feedback", "feedback"): ("the second residual would always be zero", "keep one of the two"),
    ("feedback", "clip"): ("what is clipped would be missing from the residual", "put the clip first"),
    ("feedback", "noise"): ("the residual breaks every bound", "put clip and noise first"),
    ("feedback", "discrete noise"): ("the residual breaks every bound", "leave out error_feedback"),
    ("mask", "quantize"): ("masked values are uniform in the ring and cannot be rounded", "quantize first"),
    ("mask", "sparsify"): ("masks would no longer cancel", "put random_k before the mask"),
    ("mask", "clip"): ("masked values have no norm", "put the clip first"),
    ("mask", "noise"): ("masked values take no noise", "put discrete noise before the mask"),
    ("mask", "discrete noise"): ("masked values take no noise", "put discrete noise before the mask"),
    ("mask", "mask"): ("one mask is enough", "keep one of the two"),
    ("mask", "feedback"): ("masked values cannot be added to a residual", "put error_feedback first"),
}


def refuse_impossible(steps: Sequence[Transform]) -> None:
    """Raise `ValueError`, with the reason and a remedy, if the steps cannot follow each other."""
    for first, then in combinations(steps, 2):
        for pair in ((a, b) for a in first.kinds for b in then.kinds):
            if pair in _REFUSED:
                reason, remedy = _REFUSED[pair]
                raise ValueError(f"{then.name} cannot follow {first.name}: {reason}; {remedy}")
    kinds = [kind for step in steps for kind in step.kinds]
    private = "noise" in kinds or "discrete noise" in kinds
    if private and "clip" in kinds and "weight" in kinds:
        # Even if the weighting comes first: the server applies the weight after the clip.
        raise ValueError(
            "weighting and clip cannot go together under differential privacy: a client's weight would scale"
            " its clipped update past the bound; remove the weighting, so that all clients count the same"
        )
    for step in steps[: max((i for i, s in enumerate(steps) if "mask" in s.kinds), default=0)]:
        if not step.summable:
            remedy = "use steps that are summable"
            if "sparsify" in step.kinds:
                remedy = "use random_k, for which all clients draw the same positions"
            elif "quantize" in step.kinds:
                remedy = "use one with a range that all clients share, such as quantize(8, range=0.1)"
            raise ValueError(
                f"{step.name} cannot come before a mask: clients would encode differently, and masks only"
                f" cancel in a sum that can be decoded as a whole; {remedy}"
            )
