"""Run any Flower app folder on the in-process grid."""
