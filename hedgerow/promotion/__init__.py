"""Which model of a run to use: candidates, promotions with their lineage, and the canary rule."""
