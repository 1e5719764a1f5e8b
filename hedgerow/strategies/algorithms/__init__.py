"""Algorithms that keep something on clients or send something beside the delta, one a file."""
