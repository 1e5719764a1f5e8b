"""Rules that combine what clients sent, one a file."""
