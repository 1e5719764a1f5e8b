"""What a comparison comes to, from runs with known numbers."""

from hedgerow.experiments.report.compare import summarise
from hedgerow.experiments.report.headline import headline
from tests.api.known_runs import EIGHT, FLOAT, curve, make


def test_a_method_of_which_a_seed_missed_the_target_is_named_where_it_is_as_good_for_fewer_bytes(tmp_path):
    for seed, (last, small) in enumerate([(0.80, 0.81), (0.79, 0.69)]):
        make(tmp_path / f"a-{seed}", curve(0.5, 0.6, last, up=(3000, 3000)), seed=seed)
        make(tmp_path / f"b-{seed}", curve(0.5, 0.6, small, up=(1000, 1000)), seed=seed, pipeline=EIGHT)
    assert headline(summarise([tmp_path])) == [
        # The seed that missed it counts with all that it sent: 3 rounds of 2 kB up and 4 kB down.
        "Fewest bytes to 70 % within the noise of the best accuracy: quantize(8), at least 6.00 kB up and"
        " 18.0 kB up + down, all clients together.",
        "Noise: a standard error of the difference to the best, over the seeds. The best: float32(), 79.5 %."
        " Within it: float32(), quantize(8).",
        "Missed 70 %: quantize(8) (1 of 2 seeds reached it).",
    ]


def test_each_direction_has_its_own_best(tmp_path):
    """`top_k` sends little up, and takes longer: the model goes down more often."""
    for seed in (1, 2):
        jitter = seed / 100
        make(tmp_path / f"a-{seed}", curve(0.6, 0.8, 0.8 + jitter, up=(900, 900)), seed=seed)
        make(
            tmp_path / f"b-{seed}", curve(0.5, 0.6, 0.805 + jitter, up=(500, 500)), seed=seed, pipeline=EIGHT
        )
        make(tmp_path / f"c-{seed}", curve(0.5, 0.6, 0.6, up=(5, 5)), seed=seed, pipeline="top_k(0.1)")
    first, noise, missed = headline(summarise([tmp_path]))
    assert "up, quantize(8) with 3.00 kB; up + down, float32() with 11.6 kB" in first
    assert "The best: quantize(8), 82.0 %. Within it: float32(), quantize(8)." in noise
    assert missed == "Missed 70 %: top_k(0.1) (0 of 2 seeds reached it)."


def test_what_is_far_worse_than_the_best_is_not_named_however_few_its_bytes(tmp_path):
    for seed in (1, 2):
        make(tmp_path / f"a-{seed}", curve(0.6, 0.7, 0.9 + seed / 1000, up=(900, 900)), seed=seed)
        make(tmp_path / f"b-{seed}", curve(0.7, 0.7, 0.71, up=(5, 5)), seed=seed, pipeline=EIGHT)
    first, noise = headline(summarise([tmp_path]))
    assert "float32(), 3.60 kB up and 11.6 kB up + down" in first
    assert "Within it: float32()." in noise


def test_with_one_seed_the_headline_says_that_noise_is_not_known(tmp_path):
    make(tmp_path / "a", curve(0.5, 0.6, 0.8, up=(900, 900)))
    make(tmp_path / "b", curve(0.5, 0.6, 0.79, up=(5, 5)), pipeline=EIGHT)
    first, noise = headline(summarise([tmp_path]))
    assert "float32(), 5.40 kB up" in first
    assert noise == (
        "One seed: the noise is unknown, and only the best accuracy counts as good."
        " The best: float32(), 80.0 %."
    )
    assert headline(summarise([tmp_path / "a"])) == []


def test_without_a_target_the_bytes_are_those_of_the_whole_run(tmp_path):
    for seed in (1, 2):
        for name, up, pipeline in (("a", 900, FLOAT), ("b", 500, EIGHT)):
            lines = curve(0.5, 0.6, 0.8 + seed / 100, up=(up, up))
            make(tmp_path / f"{name}-{seed}", lines, seed=seed, pipeline=pipeline, target=None)
    first, _ = headline(summarise([tmp_path]))
    assert "Fewest bytes within the noise of the best accuracy: quantize(8), 3.00 kB up and 15.0 kB" in first


def test_where_nobody_reached_the_target_nobody_is_said_to_be_cheapest(tmp_path):
    make(tmp_path / "a", curve(0.5, up=(900, 900)), rounds=1)
    make(tmp_path / "b", curve(0.6, up=(900, 900)), rounds=1, pipeline=EIGHT)
    first, _, missed = headline(summarise([tmp_path]))
    assert first == "No way within the noise of the best accuracy reached 70 %."
    assert missed == (
        "Missed 70 %: float32() (0 of 1 seed reached it), quantize(8) (0 of 1 seed reached it)."
    )
