"""The kinds of messages that a client answers, by what their answers tell."""

STAGES = ("keys", "shares", "masked", "survivors", "unmask", "failed")
"""Actions of `train` and `evaluate` messages in a round of secure aggregation."""

OPENINGS = ("train.keys", "evaluate.keys")
"""Messages with which such a round begins."""

UPDATES = ("train", "train.masked", "evaluate", "evaluate.masked")
"""Messages whose answers tell something of a device's data."""

NAMES = ("query", "train.failed", "evaluate.failed")
"""Messages whose answers tell no more than the device's name, whatever the strategy."""

IN_THE_CLEAR = ("train", "evaluate")
"""Messages whose answers are sent in the clear."""

BEGINNINGS = (*IN_THE_CLEAR, *OPENINGS)
"""Messages that ask for new work; the other stages of a masked round finish what one of these began."""

KNOWN = (*IN_THE_CLEAR, *(f"{kind}.{stage}" for kind in IN_THE_CLEAR for stage in STAGES))
"""All kinds of messages but queries."""
