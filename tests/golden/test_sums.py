"""A mean has the bits that it always had."""

from tests.golden.make_sums import COHORTS, PATH, SCALES, sums


def test_sums_and_means_have_the_committed_bits():
    committed = PATH.read_text()
    assert len(committed.splitlines()) == len(COHORTS) * len(SCALES)
    assert sums() == committed
