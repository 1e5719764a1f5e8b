"""How to train a cohort: measured, not guessed."""
