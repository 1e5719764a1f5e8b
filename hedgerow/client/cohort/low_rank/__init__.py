"""Linear layers that need no weights of their own for each client."""
