"""Why a device does not answer, in words that are the same for all devices and data: they leave it."""

from hedgerow.secure.errors import Refused


class UnknownDescription(Refused):
    """The device does not know this run's description."""


class NoDescription(Refused):
    """The message does not say of which run it is: its server has no Hedgerow, or an older one."""


class OtherVersion(Refused):
    """The server's Hedgerow is more than one minor version away from this device's: install the server's."""


class OtherModel(Refused):
    """This device makes another model of the run's description than its server: install the same versions."""


class NoTrainer(Refused):
    """The trainer that the run names is not installed on this device; hedgerow[torch] has "loop"."""


class CannotTrain(Refused):
    """The trainer on this device does not do what the run's strategy needs; its log says what is missing."""


class DataDoNotFit(Refused):
    """The device's own data do not fit the run's schema; its log says where."""
