"""The canonical form of every message: named records, and their bytes. Needs neither Flower nor torch."""
