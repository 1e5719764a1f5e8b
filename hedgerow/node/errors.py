"""Reasons for not answering, in words that are the same for all devices and data, because they are sent."""

from hedgerow.secure.errors import Refused


class UnknownDescription(Refused):
    """The device does not know this run's description."""


class NoDescription(Refused):
    """The message does not say which run it belongs to: its server has no Hedgerow, or an older one."""


class OtherVersion(Refused):
    """The server's Hedgerow is more than one minor version from this device's: install the server's."""


class OtherModel(Refused):
    """The device builds another model from the run's description than the server: install its versions."""


class NoTrainer(Refused):
    """The run's trainer is not installed on this device, and no graphs to train by are offered to it."""


class NoGraphs(Refused):
    """The graphs of the run cannot be had from the coordinator; this device's log says why."""


class CannotTrain(Refused):
    """The device's trainer does not support what the run's strategy needs; its log says what is missing."""


class DataDoNotFit(Refused):
    """The device's own data does not fit the run's schema; its log says where."""
