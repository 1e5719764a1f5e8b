"""Differential privacy: exact noise, the guarantee it gives, and the accounting of its cost."""
