"""The steps of the update pipeline, one idea a file."""
