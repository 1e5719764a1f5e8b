"""Descriptions of runs that other devices can read: plain JSON, without torch or Flower."""
