"""Simulation: Flower grids that run clients on this machine or on a cluster."""
