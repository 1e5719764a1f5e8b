"""Differential privacy: noise that can be trusted, what it protects, and what that costs."""
