"""Who is asked, and when: rounds, roster, checkpoints."""
