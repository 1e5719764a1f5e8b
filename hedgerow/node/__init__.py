"""A device that takes part: one process that speaks Flower's Fleet API, and runs no code of a server's.

It needs neither Flower nor torch: the trainer that a run names may.
"""
