"""From one file to a run, a sweep, a table and a report."""
