"""How fast it is simulated: Flower grids that run clients on this machine."""
