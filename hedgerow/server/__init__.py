"""The server: rounds, roster, checkpoints."""
