"""The files that get faults, and the tests that are shown them."""

FILES = (
    "hedgerow/privacy/accounting.py",
    "hedgerow/privacy/adjacency.py",
    "hedgerow/privacy/bands.py",
    "hedgerow/privacy/discrete_gaussian.py",
    "hedgerow/privacy/events.py",
    "hedgerow/privacy/ledger.py",
    "hedgerow/privacy/planning.py",
    "hedgerow/privacy/skellam.py",
    "hedgerow/strategies/calibration.py",
    "hedgerow/strategies/transforms/clipping.py",
    "hedgerow/strategies/transforms/client_noise.py",
    "hedgerow/strategies/transforms/noise.py",
    "hedgerow/strategies/norms.py",
    "hedgerow/strategies/release.py",
    "hedgerow/client/account.py",
    "hedgerow/client/torch/private.py",
    "hedgerow/server/private.py",
)
"""The files of noise, clipping, release and account."""

QUICK = (
    "tests/golden/test_pins.py",
    "tests/laws/test_noise_formulas.py",
    "tests/laws/test_noise_refusals.py",
    "tests/laws/test_noise_searches.py",
    "tests/laws/test_noise_steps.py",
    "tests/laws/test_noise_words.py",
    "tests/laws/test_norms.py",
    "tests/laws/test_private_range.py",
    "tests/laws/test_released_rounds.py",
    "tests/laws/test_sample_accounts.py",
    "tests/laws/test_units.py",
)
"""Tests of milliseconds, which every fault is shown to first, with the examples in `FILES`."""

TESTS = (
    "tests/api/test_mistakes.py",
    "tests/attacks/test_private_files.py",
    "tests/engines/test_sample_noise.py",
    "tests/faults/test_full_disk.py",
    "tests/laws/test_adjacency.py",
    "tests/laws/test_calibration.py",
    "tests/laws/test_ledger.py",
    "tests/laws/test_little_noise.py",
    "tests/laws/test_private_rounds.py",
    "tests/laws/test_private_samples.py",
    "tests/laws/test_secure_privacy.py",
    "tests/laws/test_skellam_accounting.py",
    "tests/laws/test_transforms.py",
    "tests/statistics/test_audit.py",
    "tests/statistics/test_audit_release.py",
    "tests/statistics/test_audit_samples.py",
    "tests/statistics/test_banded_noise.py",
    "tests/statistics/test_discrete_gaussian.py",
    "tests/statistics/test_distributed_noise.py",
    "tests/statistics/test_noise.py",
    "tests/statistics/test_sensitivity.py",
    "tests/statistics/test_skellam.py",
)
"""The tests that are shown what those have not noticed."""
