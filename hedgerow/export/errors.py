"""Why there is no graph of a model."""


class CannotExport(ValueError):
    """A model, a loss or a setting that cannot be written as a graph; with what is in the way."""
