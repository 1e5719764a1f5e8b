"""Why a party to a secure aggregation refuses to continue. Error replies and results carry the class names.

Refused
├── Malformed            bytes that are not the expected message
├── OutOfOrder           a stage that is not the next one
├── AlreadyAnswered      a round, or a stage of it, that was answered before
├── StaleRound           a message for another run, round, model or set of keys
├── WrongPurpose         a stage of an evaluation in a training round, or vice versa
├── AskedTooOften        a round sooner after the last one than the strategy promises
├── NotMasked            a request to send an update in the clear
├── WrongModel           a model other than the one announced for the round
├── WrongShape           a wrong ring, length or number of words
├── OutOfRing            a number outside the ring
├── DuplicateMember      a name that occurs twice in a list
├── NotAMember           a name that is missing from a list, or does not belong there
├── CohortTooSmall       fewer clients than the client requires
├── TooFewNeighbours     weaker settings than the client's own
├── ThresholdTooLow
├── SurvivorFloorTooLow
├── UnknownIdentity      a client that is not enrolled
├── WrongIdentity        a client whose key is not the one it enrolled with
├── BadSignature         a signature that is not valid for this message of this round
├── KeysChanged          keys that their owner did not send, or that two clients share
├── AliveAndDead         a client listed as both alive and dead
├── TooFewSurvivors      fewer survivors, or signatures of survivors, than required
├── Isolated             too few of a client's own neighbours remain
├── SplitView            a list of survivors other than the one that was signed
├── BadShare             a share that does not match its commitment, or is for another client
└── TooFewShares         too few shares to recover a secret
"""

import logging
from typing import ClassVar


class Refused(Exception):
    """A party refuses to continue a round; the class says why.

    Attributes:
        level: `logging` level at which the party logs it.
    """

    level: ClassVar[int] = logging.ERROR


class Malformed(Refused):
    """Bytes that are not the expected message."""


class OutOfOrder(Refused):
    """A stage that is not the next one."""


class AlreadyAnswered(Refused):
    """A round, or a stage of it, that was answered before."""


class StaleRound(Refused):
    """A message for another run, round, model or set of keys."""


class WrongPurpose(Refused):
    """A stage of an evaluation in a round of training, or the other way round."""


class AskedTooOften(Refused):
    """A round sooner after the client's last one than the strategy promises."""


class NotMasked(Refused):
    """A request to send an update in the clear."""


class WrongModel(Refused):
    """A model other than the one announced for the round."""


class WrongShape(Refused):
    """A ring, length or number of words that differs from this client's pipeline."""


class OutOfRing(Refused):
    """A number outside the ring."""


class DuplicateMember(Refused):
    """A name that occurs twice in a list."""


class NotAMember(Refused):
    """A name that is missing from a list, or does not belong there."""


class CohortTooSmall(Refused):
    """Fewer clients than this client requires."""


class TooFewNeighbours(Refused):
    """Another number of neighbours than this client requires."""


class ThresholdTooLow(Refused):
    """A lower threshold than this client requires."""


class SurvivorFloorTooLow(Refused):
    """A lower minimum of survivors than this client requires."""


class UnknownIdentity(Refused):
    """A client that is not enrolled."""


class WrongIdentity(Refused):
    """A client whose key is not the one it enrolled with."""


class BadSignature(Refused):
    """A signature that is not valid for this message of this round."""


class KeysChanged(Refused):
    """Keys that their owner did not send, or that two clients share."""


class AliveAndDead(Refused):
    """A client listed as both alive and dead."""


class TooFewSurvivors(Refused):
    """Fewer survivors, or signatures of survivors, than required."""


class Isolated(Refused):
    """Too few of a client's own neighbours remain."""


class SplitView(Refused):
    """A list of survivors other than the one that was signed."""


class BadShare(Refused):
    """A share that does not match its commitment, or is for another client."""


class TooFewShares(Refused):
    """Too few shares to recover a secret."""
