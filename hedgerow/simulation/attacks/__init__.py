"""What compromised clients do, one attack a file; for simulations only."""
