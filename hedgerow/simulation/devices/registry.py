"""The registry of described devices that a recipe may name."""

from hedgerow.registry import Registry

DEVICES = Registry(
    "description of devices",
    "hedgerow.devices",
    {name: f"hedgerow.simulation.devices.{name}:{name}" for name in ("classes", "lognormal")},
)
