"""Layers and functions of several clients side by side."""
