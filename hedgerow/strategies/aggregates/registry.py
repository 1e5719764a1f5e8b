"""The registry of aggregation rules that a configuration may name."""

from hedgerow.registry import Registry

AGGREGATES = Registry(
    "aggregate",
    "hedgerow.aggregates",
    {
        name: f"hedgerow.strategies.aggregates.{name}:{name}"
        for name in ("mean", "median", "trimmed_mean", "krum", "geometric_median")
    },
)
