"""From a table to an experiment, or an error with every mistake."""

import json
from collections.abc import Mapping
from typing import Any

from hedgerow.experiments.config.build import resolve
from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.schema import Experiment


def parse(table: Mapping[str, Any], source: str = "") -> Experiment:
    """Check a configuration as a whole and fill in every default.

    Args:
        table: as read from TOML, without `[sweep]`.
        source: the file or recipe, for the error.

    Raises:
        ConfigError: with every mistake in it.
    """
    resolved, mistakes = resolve(table)
    if mistakes:
        raise ConfigError(mistakes, source)
    return Experiment.model_validate_json(json.dumps(resolved))
