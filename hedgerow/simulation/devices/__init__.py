"""Described devices of simulated clients: how long a step takes on each."""
