"""What a step of the update pipeline is, and how steps are put together and run."""
