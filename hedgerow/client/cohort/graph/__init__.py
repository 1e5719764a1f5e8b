"""A user's module as a graph that runs for many clients at once."""
