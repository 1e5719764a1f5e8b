"""Who is handed graphs at the gateway, and how a run's ledger counts them."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hedgerow.coordinator.fetching import FetchingGrid
from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.graphs import GraphStore
from hedgerow.coordinator.http_types import Refused
from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.offer import Offer
from tests.attacks.gateways import Raw, gateway, joined, signed


def graphs(train: bytes = b"train") -> Graphs:
    return Graphs.of({}, {}, train, {}, b"evaluate")


@pytest.fixture
def folder(tmp_path: Path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


def test_devices_alone_are_handed_graphs_by_their_hash_and_nothing_else(folder, tmp_path):
    key, stranger, store = joined(folder, "kitchen", tmp_path), ec.generate_private_key(ec.SECP384R1()), None
    offer = Offer.of(graphs())
    with gateway(folder) as port:
        raw = Raw(folder, port)
        assert raw.ask("GET", f"/graphs/{offer.hash}", signed(key)) == 404
        store = GraphStore(folder)
        store.put(graphs())
        raw.send("GET", f"/graphs/{offer.hash}", signed(key))
        status, headers, body = raw.reply()
        assert (status, headers["etag"], len(body)) == (200, f'"{offer.hash}"', offer.size)
        assert offer.opened(body) == graphs()
        for given in ({}, signed(stranger), signed(key, age=1000)):
            assert raw.ask("GET", f"/graphs/{offer.hash}", given) == 401
        for path in (
            "/graphs", "/graphs/", f"/graphs/{offer.hash}/0", f"/graphs/{offer.hash.upper()}",
            "/graphs/handed.jsonl", f"/graphs/../{offer.hash}", f"/graphs/{'0' * 64}",
        ):  # fmt: skip
            assert raw.ask("GET", path, signed(key)) == 404, path
        assert raw.ask("POST", f"/graphs/{offer.hash}", signed(key)) == 405
        raw.socket.close()
    assert list(store.handed(0)) == [(offer.hash, "kitchen", offer.size)]
    assert all(file.stat().st_mode & 0o077 == 0 for file in (folder.path / "graphs").iterdir())


def test_a_run_counts_what_devices_were_sent_once_also_after_a_restart(folder, tmp_path):
    store, ours, theirs = GraphStore(folder), Offer.of(graphs()), Offer.of(graphs(b"other"))
    store.put(graphs())
    store.put(graphs(b"other"))

    def grid() -> FetchingGrid:
        return FetchingGrid(None, store, tmp_path, ours.hash)

    store.answer(f"/graphs/{ours.hash}", "before")  # in a run before this one
    run = grid()
    assert run.fetched() == {}
    store.answer(f"/graphs/{ours.hash}", "kitchen")
    store.answer(f"/graphs/{theirs.hash}", "shed")
    assert run.fetched() == {"kitchen": ours.size}
    assert run.fetched() == grid().fetched() == {"kitchen": ours.size}, "the round was not saved"
    run.saved()
    assert run.fetched() == grid().fetched() == {}
    store.answer(f"/graphs/{ours.hash}", "kitchen")
    assert grid().fetched() == {"kitchen": ours.size}, "a device that fetches again is sent them again"


def test_a_device_that_asks_for_ever_fills_no_disk(folder):
    store, ours = GraphStore(folder), Offer.of(graphs())
    store.put(graphs())
    for _ in range(100):
        store.answer(f"/graphs/{ours.hash}", "kitchen")
    for _ in range(3):
        with pytest.raises(Refused, match="sent 100 times") as refused:
            store.answer(f"/graphs/{ours.hash}", "kitchen")
        assert refused.value.status == 429
    assert len(list(store.handed(0))) == 100
    store.answer(f"/graphs/{ours.hash}", "shed")


@pytest.mark.parametrize("line", ["", "\0\0\0", "7", "[1, 2]", '["a", "b", "c"]'])
def test_a_damaged_line_ends_no_run(folder, tmp_path, line):
    store, ours = GraphStore(folder), Offer.of(graphs())
    run = FetchingGrid(None, store, tmp_path, ours.hash)
    store.put(graphs())
    (folder.path / "graphs" / "handed.jsonl").write_text(f"{line}\n")
    store.answer(f"/graphs/{ours.hash}", "kitchen")
    assert run.fetched() == {"kitchen": ours.size}
    run.saved()
    (tmp_path / "graphs-counted.json").write_bytes(bytes(2))
    assert FetchingGrid(None, store, tmp_path, ours.hash).fetched() == {}, "nothing is counted twice"
