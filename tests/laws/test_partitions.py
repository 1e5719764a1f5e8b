"""What every way of dealing samples must keep."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.datasets import (
    PARTITIONS,
    Dataset,
    Federation,
    Partition,
    dirichlet,
    from_flower,
    iid,
    load_dataset,
    natural,
    quantity_skew,
    shards,
)
from hedgerow.types import Samples

DRAWN: dict[str, Callable[[int], Partition]] = {
    "iid": iid,
    "dirichlet": lambda clients: dirichlet(clients, 0.3),
    "shards": shards,
    "quantity-skew": lambda clients: quantity_skew(clients, 0.3),
}

# SHA-256 of names and indices for seed 7, written once: another value means that
# everybody's federations have changed.
GOLDEN = {
    "iid": "66bddd50add25fa698872ac59088e4d12da38a425f56ae2c0e10668f7c620be2",
    "dirichlet": "803131c08aeffb2ab122c1bdd6458bdbc4d8492c302abc005f41139c0f51aa35",
    "shards": "74a3ee059a6289a0a96e7d300798f09b69f7c801ee7d76b2397c485cb5c4a29c",
    "quantity-skew": "740aa3bbbe3313c82bb4ac2eb162327901f454e0fb7ffa3bfe20c4e5d39f12cd",
    "natural": "44713df6a01e5e672af9b599f4d19e16d1e1b1cbf82552deca27c0d2c2db3a98",
}


def labelled(labels: list[int], classes: int, owners: list[int] | None = None) -> Dataset:
    n = len(labels)
    samples = Samples(np.arange(n, dtype=np.float32)[:, None], np.array(labels, np.int64))
    owned = None if owners is None else np.array(owners, np.int64)
    people = tuple(f"person-{k}" for k in range(6)) if owners else ()
    return Dataset("drawn", samples, samples, tuple(map(str, range(classes))), owned, people)


def fingerprint(federation: Federation) -> str:
    digest = hashlib.sha256()
    for name, index in zip(federation.names, federation.indices, strict=True):
        digest.update(f"{name} {len(index)}\n".encode() + index.astype("<i8").tobytes())
    return digest.hexdigest()


labels_and_clients = st.tuples(st.lists(st.integers(0, 4), min_size=12, max_size=200), st.integers(1, 6))


@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=40, deadline=None)
@given(drawn=labels_and_clients, seed=st.integers(-(2**40), 2**40))
def test_every_sample_lies_with_exactly_one_client(
    name: str, drawn: tuple[list[int], int], seed: int
) -> None:
    labels, clients = drawn
    federation = labelled(labels, 5).split(DRAWN[name](clients), seed)
    assert len(federation) == len(federation.indices) == clients
    assert np.array_equal(np.sort(np.concatenate(federation.indices)), np.arange(len(labels)))
    assert federation.sizes().min() >= 1
    assert all((np.diff(index) > 0).all() and index.dtype == np.int64 for index in federation.indices)
    assert np.array_equal(federation.counts().sum(0), np.bincount(labels, minlength=5))


@settings(max_examples=60, deadline=None)
@given(
    drawn=labels_and_clients,
    alpha=st.sampled_from([1e-6, 0.01, 0.3, 5.0, 1e6]),
    skewed=st.sampled_from([dirichlet, quantity_skew]),
    data=st.data(),
)
def test_no_client_has_less_than_the_minimum(
    drawn: tuple[list[int], int], alpha: float, skewed: Callable[..., Partition], data: st.DataObject
) -> None:
    labels, clients = drawn
    least = data.draw(st.integers(1, len(labels) // clients))
    federation = labelled(labels, 5).split(skewed(clients, alpha, min_samples=least), 1)
    assert federation.sizes().min() >= least
    assert federation.sizes().sum() == len(labels)


@settings(max_examples=40, deadline=None)
@given(drawn=labels_and_clients, seed=st.integers(0, 99))
def test_equal_shares_differ_by_one_sample_at_most(drawn: tuple[list[int], int], seed: int) -> None:
    labels, clients = drawn
    sizes = labelled(labels, 5).split(iid(clients), seed).sizes()
    assert sizes.max() - sizes.min() <= 1
    dealt = labelled(labels, 5).split(shards(clients, 2), seed).sizes()
    assert dealt.max() - dealt.min() <= 2


@settings(max_examples=40, deadline=None)
@given(owners=st.lists(st.integers(0, 5), min_size=1, max_size=80), data=st.data())
def test_natural_clients_keep_what_is_theirs_and_the_largest_are_kept(
    owners: list[int], data: st.DataObject
) -> None:
    dataset = labelled([0] * len(owners), 1, owners)
    sizes = {f"person-{k}": owners.count(k) for k in range(6) if owners.count(k)}
    limit = data.draw(st.integers(1, len(sizes)))
    federation = dataset.split(natural(limit), 0)
    for name, index in zip(federation.names, federation.indices, strict=True):
        assert index.tolist() == [i for i, k in enumerate(owners) if f"person-{k}" == name]
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[:limit]
    assert federation.names == tuple(sorted(largest))
    assert dataset.split(natural(), 0).sizes().sum() == len(owners)


def test_the_same_seed_gives_the_committed_split() -> None:
    assert set(GOLDEN) == set(PARTITIONS.names())
    clothes, watch = load_dataset("fashion-mnist"), load_dataset("watch")
    found = {name: fingerprint(clothes.split(make(50), 7)) for name, make in DRAWN.items()}
    found["natural"] = fingerprint(watch.split(natural(), 7))
    assert found == GOLDEN


@pytest.mark.parametrize("name", DRAWN)
def test_another_seed_gives_another_split(name: str) -> None:
    dataset = labelled([k % 5 for k in range(300)], 5)
    assert fingerprint(dataset.split(DRAWN[name](10), 1)) != fingerprint(dataset.split(DRAWN[name](10), 2))


def test_two_shards_of_a_balanced_set_hold_at_most_two_classes() -> None:
    federation = load_dataset("fashion-mnist").split(shards(50), 3)
    classes = (federation.counts() > 0).sum(1)
    assert classes.max() == 2
    assert (federation.sizes() == 120).all()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_shares_of_a_class_have_the_mean_and_variance_of_a_dirichlet(alpha: float) -> None:
    # Of n samples shared out with Dirichlet(alpha) over K clients, one client's share has mean 1/K and
    # variance (1/K)(1 - 1/K)/n * (n + K alpha)/(1 + K alpha). 40 classes in 100 splits are 4,000 draws.
    clients, n, classes = 5, 60, 40
    dataset = labelled([k % classes for k in range(n * classes)], classes)
    splits = [dataset.split(dirichlet(clients, alpha), seed).counts()[2] for seed in range(100)]
    share = np.concatenate(splits) / n

    def variance(concentration: float) -> float:
        total = clients * concentration
        return (1 / clients) * (1 - 1 / clients) / n * (n + total) / (1 + total)

    assert abs(share.mean() - 1 / clients) < 5 * np.sqrt(variance(alpha) / share.size)
    assert 0.85 < share.var() / variance(alpha) < 1.15
    for wrong in (alpha / 2, alpha * 2):  # the test can tell
        assert not 0.85 < share.var() / variance(wrong) < 1.15


def test_quantity_skew_leaves_the_mix_of_classes_alone() -> None:
    federation = load_dataset("fashion-mnist").split(quantity_skew(10, 0.5), 0)
    counts, sizes = federation.counts(), federation.sizes()
    expected = sizes[:, None] / 10
    chi = ((counts - expected) ** 2 / expected)[sizes > 50].sum()
    degrees = 9 * int((sizes > 50).sum())
    assert chi < degrees + 5 * np.sqrt(2 * degrees)
    assert sizes.max() > 3 * np.median(sizes)


def test_an_impossible_split_is_refused_with_the_reason() -> None:
    dataset = labelled([0, 1, 2], 3)
    for partition in (iid(4), dirichlet(4, 0.3), dirichlet(2, 0.3, 2), shards(2), quantity_skew(4, 1.0)):
        with pytest.raises(ValueError, match=r"need 4 samples; 'drawn' has 3\. Ask for fewer"):
            dataset.split(partition)
    with pytest.raises(ValueError, match="has no natural clients; choose another partition"):
        dataset.split(natural())
    owned = labelled([0, 0, 0], 1, [0, 0, 1])
    with pytest.raises(ValueError, match=r"clients is 3; 'drawn' has 2 natural clients .* from 1 to 2"):
        owned.split(natural(3))
    with pytest.raises(ValueError, match="min_samples is 9; the largest natural client of 'drawn' has 2"):
        owned.split(natural(min_samples=9))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: iid(0), "clients is 0"),
        (lambda: dirichlet(3, -1), "alpha is -1"),
        (lambda: dirichlet(3, float("nan")), "alpha is nan"),
        (lambda: dirichlet(3, 1e-9), "alpha is 1e-09; it must be from"),
        (lambda: dirichlet(3, 0.3, 0), "min_samples is 0"),
        (lambda: shards(3, 0), "shards_per_client is 0"),
        (lambda: quantity_skew(3, 1e9), "it must be from"),
        (lambda: natural(0), "clients is 0"),
    ],
)
def test_a_bad_argument_is_refused_when_the_partition_is_made(
    make: Callable[[], Partition], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_partition_of_somebody_else_is_held_to_the_same_law() -> None:
    dataset = labelled([0, 1, 0, 1], 2)

    def dealt(names: tuple[str, ...], *hands: list[int]) -> Partition:
        return Partition("mine", "mine", lambda d, s: (names, tuple(np.array(h, np.int64) for h in hands)))

    assert dataset.split(dealt(("a", "b"), [3, 0], [1])).samples("a").y.tolist() == [0, 1]
    for wrong, message in [
        (dealt(("a", "b"), [0, 1], [1]), "sample 1 belongs to two clients"),
        (dealt(("a", "b"), [0, 1], []), "client 'b' has no sample"),
        (dealt(("a", "a"), [0], [1]), "its own name"),
        (dealt(("a",), [4]), "not one of the 4"),
        (dealt(()), "has no client"),
    ]:
        with pytest.raises(ValueError, match=message):
            dataset.split(wrong)


def test_an_unknown_client_is_named_with_the_nearest() -> None:
    federation = labelled([0, 1, 0, 1], 2).split(iid(2))
    with pytest.raises(ValueError, match=r"no client 'client-001'.*Did you mean 'client-000"):
        federation.samples("client-001")


def test_a_flower_partitioner_is_taken_by_its_interface() -> None:
    with pytest.raises(TypeError, match="is a int, which has no 'dataset'"):
        from_flower(3)


def test_a_flower_partitioner_deals_every_sample_once() -> None:
    partitioners = pytest.importorskip("flwr_datasets.partitioner")
    watch = load_dataset("watch")
    for partitioner, clients in [
        (partitioners.IidPartitioner(7), 7),
        (partitioners.DirichletPartitioner(20, "label", 0.5, min_partition_size=5), 20),
        (partitioners.NaturalIdPartitioner("client"), 10),
    ]:
        federation = watch.split(from_flower(partitioner), 1)
        assert len(federation) == clients
        assert federation.sizes().sum() == len(watch.train)
        assert fingerprint(federation) == fingerprint(watch.split(from_flower(partitioner), 2))
