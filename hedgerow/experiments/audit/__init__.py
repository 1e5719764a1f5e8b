"""Is a deployment as private as its ledger says? Send canaries, and measure what comes out."""
