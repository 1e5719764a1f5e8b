"""A user's module as a graph for many clients."""
