"""The update pipeline: its steps, and how they are combined and run."""
