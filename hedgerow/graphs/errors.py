"""Why graphs cannot be used."""


class BadGraphs(ValueError):
    """Graphs that are damaged, or not what their manifest says; with what is wrong."""
