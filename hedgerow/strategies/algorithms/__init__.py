"""Algorithms that keep state on clients or send more than the delta, one per file."""
