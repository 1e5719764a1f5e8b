"""Linear layers without a copy of the weights for each client."""
