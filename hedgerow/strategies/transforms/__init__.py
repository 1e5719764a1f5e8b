"""The steps of the update pipeline, one idea per file."""
