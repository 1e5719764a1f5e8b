"""Recipes as Flower apps, and Flower apps as runs."""
