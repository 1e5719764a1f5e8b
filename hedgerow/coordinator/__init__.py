"""A federation that people run: a gateway before the SuperLink, who has joined, and what watches over it."""
