"""A client's account of its samples: what is written when, and how a step draws samples and noise."""

import hashlib
import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from hedgerow.client import account
from hedgerow.client.torch import private as of_samples
from hedgerow.client.torch.samples import CLIP_UNITS
from hedgerow.privacy import ledger
from hedgerow.privacy.accounting import Budget, epsilon
from hedgerow.privacy.discrete_gaussian import discrete_gaussian
from hedgerow.privacy.events import Gaussian, PoissonSampled, to_json
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.rng import integer_seed, seeded_source, system_source
from hedgerow.sealed import seal
from hedgerow.types import Fit, LocalTraining, Samples

LOCAL = LocalTraining(
    batch_size=8, clip_samples=0.7, sample_noise=4.0, sample_rate=1.0, sample_delta=1e-5, epochs=2
)
FIT = Fit(np.ones(3, np.float32), np.empty(0, np.float32), 1, sample_gradients="hedgerow")


def nothing() -> dict[str, np.ndarray]:
    return {}


def lines(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_an_event_is_sampled_below_a_rate_of_one_and_an_epsilon_that_of_all_steps():
    assert account.event(LOCAL) == Gaussian(4.0)
    some = replace(LOCAL, sample_rate=0.5)
    assert account.event(some) == PoissonSampled(0.5, Gaussian(4.0))
    for adjacency in ("zero_out", "replace"):
        local = replace(LOCAL, sample_adjacency=adjacency)
        assert account.spent(local, 3) == epsilon([Gaussian(4.0)] * 6, 1e-5, adjacency)
        assert account.most_spent(local, 3) == account.spent(local, 3)
        assert account.most_spent(replace(local, sample_epsilon=0.1), 3) == 0.1
        assert account.most_spent(replace(local, sample_epsilon=99.0), 3) == account.spent(local, 3)
        assert account.budget(local) == Budget(1e-5, None, adjacency)
        assert account.budget(replace(local, sample_epsilon=2.0)) == Budget(1e-5, 2.0, adjacency)
    assert account.spent(LOCAL, 0) == 0.0


def test_a_real_round_is_written_before_it_is_trained_under_a_lock_and_each_time(tmp_path):
    file = tmp_path / "privacy.jsonl"
    for number in (1, 2):
        account.spend("a", LOCAL, 7, file, nothing, seeded=False)
        assert len(lines(file)) == number
        assert (tmp_path / "privacy.lock").exists()
    first, second = lines(file)
    assert (first["round"], first["noise"], first["times"]) == (7, "system", 2)
    assert first["release"] != second["release"]
    assert len(first["release"]) == 32
    assert "sample_gradients" not in first


def test_a_simulated_round_is_written_when_it_is_sent_and_once_for_the_same_update(tmp_path):
    file = tmp_path / "privacy.jsonl"
    own = account.spend("a", LOCAL, 7, file, nothing, seeded=True)
    assert (lines(file), (tmp_path / "privacy.lock").exists()) == ([], False)
    own.record(7, FIT)
    own.record(7, FIT)
    own.record(8, FIT)
    own.record(8, replace(FIT, delta=np.zeros(3, np.float32), sample_gradients=""))
    found = lines(file)
    assert [line["round"] for line in found] == [7, 8, 8]
    assert found[0]["release"] == found[1]["release"] != found[2]["release"]
    assert {line["noise"] for line in found} == {"seeded: a simulation"}
    assert [line.get("sample_gradients") for line in found] == ["hedgerow", "hedgerow", None]


@pytest.mark.skipif(os.name != "posix", reason="folders have no modes")
def test_a_real_account_is_in_a_folder_that_only_its_owner_can_change(tmp_path):
    file = tmp_path / "open" / "privacy.jsonl"
    file.parent.mkdir()
    assert account.require_file(file, seeded=False) == file
    file.parent.chmod(0o777)
    assert account.require_file(file, seeded=True) == file
    with pytest.raises(LedgerError, match="so that others on this machine can change"):
        account.require_file(file, seeded=False)
    assert account.require_file(None, seeded=True) is None
    with pytest.raises(ValueError, match="sample_noise needs a folder in which a client keeps its account"):
        account.require_file(None, seeded=False)


def test_an_account_in_memory_is_that_of_the_rounds_it_remembers():
    state: dict[str, np.ndarray] = {}
    for number in (3, 3, 8):
        state = account.remember(state, number)
    assert (state["rounds"].tolist(), state["rounds"].dtype) == ([3, 3, 8], np.int64)
    kept = account.remembered(LOCAL, state)
    assert kept._entries == {(n, str(k)): (Gaussian(4.0), 2) for k, n in enumerate((3, 3, 8))}
    assert account.remembered(LOCAL, {}).releases == 0
    own = account.spend("a", LOCAL, 9, None, lambda: state, seeded=True)
    assert own._ledger.epsilon == account.spent(LOCAL, 3)


def test_a_client_takes_part_up_to_its_budget_and_no_further(tmp_path):
    for share, taken in ((1.0, True), (0.999, False)):
        local = replace(LOCAL, sample_epsilon=share * account.spent(LOCAL, 2))
        for where in (None, tmp_path / f"{share}.jsonl"):
            kept = account.remembered(local, {"rounds": np.array([1])})
            own = account.Account("a", local, kept, seeded=where is None)
            if taken:
                own.check()
                own.record(2)
                assert kept.releases == 2
            with pytest.raises(account.BudgetSpent, match="'a' takes no further part"):
                own.check()
    file = tmp_path / "spent.jsonl"
    with pytest.raises(account.BudgetSpent):
        account.spend("a", replace(LOCAL, sample_epsilon=1e-3), 1, file, nothing, seeded=False)
    assert lines(file) == []
    with pytest.raises(ValueError, match="sample_noise needs a folder"):
        account.spend("a", LOCAL, 1, None, nothing, seeded=False)


def test_a_ledger_reads_how_often_a_line_happened(tmp_path):
    file = tmp_path / "privacy.jsonl"
    Ledger(Budget(1e-5), file).write(1, Gaussian(4.0), "a", noise="system", times=1)
    assert "times" not in lines(file)[0]
    Ledger(Budget(1e-5), file).write(1, Gaussian(4.0), "b", noise="system", times=2)
    again = Ledger(Budget(1e-5), file)
    assert again._entries == {(1, "a"): (Gaussian(4.0), 1), (1, "b"): (Gaussian(4.0), 2)}
    assert again.epsilon == epsilon([Gaussian(4.0)] * 3, 1e-5)
    assert again._after(Gaussian(4.0), 2) == epsilon([Gaussian(4.0)] * 5, 1e-5)
    within = Ledger(Budget(1e-5, again._after(Gaussian(4.0), 2)), file)
    assert (within.allows(Gaussian(4.0), 2), within.allows(Gaussian(4.0), 3)) == (True, False)
    one = Budget(1e-5, again._after(Gaussian(4.0), 1))
    assert Ledger(one, file).allows(Gaussian(4.0))
    assert again.allows(Gaussian(1e-9), 100) is True


def test_an_epsilon_that_is_known_is_not_computed_again(monkeypatch):
    asked = []
    monkeypatch.setattr(ledger, "epsilon", lambda *given: (asked.append(given), 1.0)[1])
    own = Ledger(Budget(1e-5, 2.0))
    own.write(1, Gaussian(4.0), "a", noise="system")
    assert (own.epsilon, own.epsilon, own.allows(Gaussian(4.0)), own.epsilon, len(asked)) == (
        1.0,
        1.0,
        True,
        1.0,
        3,
    )


@pytest.mark.parametrize(("times", "taken"), [(1, True), (2, True), (0, False), (1.5, True), ("x", False)])
def test_a_line_that_cannot_be_counted_is_named(tmp_path, times, taken):
    file = tmp_path / "privacy.jsonl"
    line = {"round": 1, "event": to_json(Gaussian(4.0)), "release": "a", "noise": "system"}
    lines_of = [line, {**line, "round": 2, "times": times}]
    file.write_text("".join(json.dumps(seal(each)) + "\n" for each in lines_of))
    if taken:
        assert Ledger(Budget(1e-5), file)._counted() == {Gaussian(4.0): 1 + int(times)}
    else:
        with pytest.raises(LedgerError, match=r"^line 2 of .*privacy\.jsonl cannot be read"):
            Ledger(Budget(1e-5), file)


def test_chance_is_the_systems_or_in_a_simulation_streams_of_their_own():
    real = of_samples.chance(False, seed=1, round=2, client="c")
    assert real.batch is real.noise is system_source
    assert real.model(0, b"x") != real.model(0, b"x")
    made = of_samples.chance(True, seed=1, round=2, client="c")
    for name, source in (("batches of samples", made.batch), ("noise of samples", made.noise)):
        known = seeded_source(1, name, round=2, client="c")
        assert source(5).tolist() == known(5).tolist()
    digest = hashlib.blake2b(b"x", digest_size=16).hexdigest()
    assert made.model(3, b"x") == integer_seed(1, f"step 3 of sample {digest}", round=2, client="c")


@pytest.mark.parametrize("rate", [1e-6, 0.25, 0.5, 1 - 2**-53])
def test_a_sample_is_in_a_batch_if_its_word_is_below_the_rate(rate):
    edge = math.floor(rate * 2**64)
    words = np.array([0, edge - 1, edge, min(edge + 1, 2**64 - 1), 2**64 - 1], np.uint64)
    assert of_samples.poisson_batch(5, rate, lambda n: words[:n]).tolist() == [0, 1]
    assert of_samples.poisson_batch(5, 1.0, lambda n: words[:n]).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rate", [0.0001, 0.5, 1.0])
def test_a_gradient_is_the_noisy_sum_over_the_expected_batch(rate):
    local = replace(LOCAL, sample_rate=rate, sample_noise=1.3)
    parameters, asked = [torch.zeros(2, 3), torch.zeros(4)], []

    def fixed_sum(index):
        asked.append(index.tolist())
        return np.arange(10, dtype=np.int64) * 10**9 * len(index)

    made = of_samples.chance(True, seed=3, round=1, client="a")
    found = of_samples.private_gradients(fixed_sum, 12, parameters, local, made)
    again = of_samples.chance(True, seed=3, round=1, client="a")
    index = of_samples.poisson_batch(12, rate, again.batch)
    assert asked == ([index.tolist()] if len(index) else [])
    noise = discrete_gaussian(math.ceil(1.3 * CLIP_UNITS), 10, again.noise)
    known = (np.arange(10) * 10**9 * len(index) + noise) * (0.7 / CLIP_UNITS / 8)
    assert [tuple(each.shape) for each in found] == [(2, 3), (4,)]
    np.testing.assert_allclose(torch.cat([each.flatten() for each in found]).numpy(), known, rtol=1e-6)


def test_a_step_gives_each_sample_a_seed_of_its_own_and_hides_why_it_fails(caplog):
    samples = Samples(np.arange(12, dtype=np.float32).reshape(4, 3), np.array([4, 5, 6, 7]))
    seeds: dict[int, list[int]] = {}

    class Sums:
        def fixed_sum(self, x, y, largest, seed):
            assert (largest, x.tolist()) == (0.7, samples.x[y.numpy() - 4].tolist())
            for k, target in enumerate(y.tolist()):
                seeds.setdefault(target, []).append(seed(k))
            if len(seeds[4]) > 2:
                raise RuntimeError("77 is no class")
            return torch.ones(3, dtype=torch.int64)

    def take(index):
        return torch.from_numpy(samples.x[index]), torch.from_numpy(samples.y[index])

    made = of_samples.chance(True, seed=3, round=1, client="a")
    given = (Sums(), take, samples, [torch.zeros(3)], LOCAL, made)
    for number in (0, 1):
        assert len(of_samples.private_step(*given, number, "client 'a'")) == 1
    for place, target in enumerate((4, 5, 6, 7)):
        raw = samples.x[place].tobytes() + samples.y[place].tobytes()
        assert seeds[target] == [made.model(0, raw), made.model(1, raw)]
    with pytest.raises(
        ValueError, match=r"^client 'a': a step with sample_noise failed; why is in"
    ) as caught:
        of_samples.private_step(*given, 2, "client 'a'")
    assert "77" not in str(caught.value)
    assert "77" in caplog.text
