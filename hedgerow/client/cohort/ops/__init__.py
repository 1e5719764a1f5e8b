"""Layers and functions for several clients side by side."""
