"""Why a party to a secure aggregation refuses to go on. The names travel in error replies, and in results.

Refused
├── Malformed            bytes that are not the message they should be
├── OutOfOrder           a stage that is not the next one
├── AlreadyAnswered      a round, or a stage of it, that was answered before
├── StaleRound           another run, round, model or set of keys than this round's
├── WrongPurpose         a stage of an evaluation in a round of training, or the other way round
├── AskedTooOften        a round that comes sooner after the last than the strategy promises
├── NotMasked            a request to send an update in the clear
├── WrongModel           a model that is not the one that the round was announced with
├── WrongShape           another ring, length or number of words
├── OutOfRing            a number that no reduced ring vector can have
├── DuplicateMember      a name that stands twice in a list
├── NotAMember           a name that is not in the list it must be in
├── CohortTooSmall       fewer clients than the client takes part with
├── TooFewNeighbours     weaker settings than the client's own
├── ThresholdTooLow
├── SurvivorFloorTooLow
├── UnknownIdentity      a client that was not enrolled
├── WrongIdentity        a client with another key than it was enrolled with
├── BadSignature         a signature that does not hold for this message of this round
├── KeysChanged          keys that their owner did not send, or that two share
├── AliveAndDead         a client that is in both lists
├── TooFewSurvivors      fewer survivors, or signatures of them, than the floor
├── Isolated             too few of a client's own neighbours are left
├── SplitView            another list of survivors than the one that was signed
├── BadShare             a share that is not what was committed to, or is for somebody else
└── TooFewShares         a secret that cannot be put together again
"""

import logging
from typing import ClassVar


class Refused(Exception):
    """A party refuses to go on with a round; the class says why.

    Attributes:
        level: of `logging`, at which the party's own log tells of it.
    """

    level: ClassVar[int] = logging.ERROR


class Malformed(Refused):
    """Bytes that are not the message they should be."""


class OutOfOrder(Refused):
    """A stage that is not the next one."""


class AlreadyAnswered(Refused):
    """A round, or a stage of it, that was answered before."""


class StaleRound(Refused):
    """Another run, round, model or set of keys than this round's."""


class WrongPurpose(Refused):
    """A stage of an evaluation in a round of training, or the other way round."""


class AskedTooOften(Refused):
    """A round that comes sooner after the client's last than the strategy promises."""


class NotMasked(Refused):
    """A request to send an update in the clear."""


class WrongModel(Refused):
    """A model that is not the one that the round was announced with."""


class WrongShape(Refused):
    """Another ring, length or number of words than this client's pipeline has."""


class OutOfRing(Refused):
    """A number that no reduced ring vector can have."""


class DuplicateMember(Refused):
    """A name that stands twice in a list."""


class NotAMember(Refused):
    """A name that is not in the list it must be in."""


class CohortTooSmall(Refused):
    """Fewer clients than this client takes part with."""


class TooFewNeighbours(Refused):
    """Fewer neighbours than this client insists on."""


class ThresholdTooLow(Refused):
    """A lower threshold than this client insists on."""


class SurvivorFloorTooLow(Refused):
    """A lower floor of survivors than this client insists on."""


class UnknownIdentity(Refused):
    """A client that was not enrolled."""


class WrongIdentity(Refused):
    """A client with another key than it was enrolled with."""


class BadSignature(Refused):
    """A signature that does not hold for this message of this round."""


class KeysChanged(Refused):
    """Keys that their owner did not send, or that two clients share."""


class AliveAndDead(Refused):
    """A client that is in both lists."""


class TooFewSurvivors(Refused):
    """Fewer survivors, or signatures of survivors, than the floor."""


class Isolated(Refused):
    """Too few of a client's own neighbours are left."""


class SplitView(Refused):
    """Another list of survivors than the one that was signed."""


class BadShare(Refused):
    """A share that is not what was committed to, or is for somebody else."""


class TooFewShares(Refused):
    """A secret that cannot be put together again."""
