"""Exact sums of whole numbers: rings, bit packing, and the vectors that clients mask."""
