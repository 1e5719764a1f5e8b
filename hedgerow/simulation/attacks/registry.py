"""The registry of attacks that a configuration may name."""

from hedgerow.registry import Registry

ATTACKS = Registry(
    "attack",
    "hedgerow.attacks",
    {
        name: f"hedgerow.simulation.attacks.{name}:{name}"
        for name in ("sign_flip", "gaussian", "label_flip", "model_replacement", "little_is_enough")
    },
)
