"""A device in a federation: one process that speaks Flower's Fleet API, and runs no code from a server.

It needs neither Flower nor torch, though the trainer that a run names may.
"""
