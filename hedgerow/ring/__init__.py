"""Whole numbers that are summed exactly: rings, bit packing, and the vectors of a cohort under a mask."""
