"""Which model of a run is to be used: candidates, promotions with their lineage, the rule of a canary."""
