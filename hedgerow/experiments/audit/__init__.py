"""Is what runs as private as its ledger says? Canaries are sent, and what comes out is listened to."""
