"""Secure aggregation as pure state machines: no Flower, no torch, no I/O, no clock."""
