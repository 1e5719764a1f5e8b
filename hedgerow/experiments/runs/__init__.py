"""Runs and sweeps: each a folder, resumed where it was."""
