"""Attacks by compromised clients, one per file; for simulations only."""
