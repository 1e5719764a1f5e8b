"""Runs and sweeps: each is a folder, and can be resumed."""
