"""The path by which a device measures its link: for who is invited or has joined, and not for ever."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hedgerow.coordinator.folder import FederationFolder
from hedgerow.coordinator.members import invite, load_members
from hedgerow.node.link import PROBE, TOKEN
from tests.attacks.gateways import Raw, gateway, joined, signed

_MB = 2**20


@pytest.fixture
def folder(tmp_path) -> FederationFolder:
    return FederationFolder.make(tmp_path / "federation")


@contextmanager
def connected(folder: FederationFolder, port: int) -> Iterator[Raw]:
    raw = Raw(folder, port)
    try:
        yield raw
    finally:
        raw.socket.close()


def test_who_is_neither_invited_nor_has_joined_is_refused_before_anything_is_read(folder, tmp_path) -> None:
    used = joined(folder, "kitchen", tmp_path)
    token = json.loads((tmp_path / "kitchen.kit").read_text())["token"]
    with gateway(folder) as port:
        for headers in ({}, {TOKEN: token}, {TOKEN: "x"}, {TOKEN: "="}, signed(used, age=600)):
            with connected(folder, port) as raw:
                assert raw.ask("GET", PROBE, headers) == 401, headers
        with connected(folder, port) as raw:
            assert raw.ask("PUT", PROBE, signed(used)) == 404
            raw.send("POST", PROBE, {TOKEN: token, "content-length": str(_MB)})
            assert raw.reply()[0] == 401
            assert raw.ended()


def test_a_kit_measures_its_link_without_being_used_up_and_as_often_as_is_reasonable(
    folder, tmp_path
) -> None:
    kit = json.loads(invite(folder, "kitchen", tmp_path).read_text())
    with gateway(folder) as port:
        with connected(folder, port) as raw:
            raw.send("POST", PROBE, {TOKEN: kit["token"], "content-length": str(_MB + 1)})
            assert raw.reply()[0] == 413
        with connected(folder, port) as raw:
            raw.send("GET", PROBE, {TOKEN: kit["token"]})
            status, _, body = raw.reply()
            assert (status, len(body)) == (200, _MB)
            found = [raw.ask("GET", PROBE, {TOKEN: kit["token"]}) for _ in range(8)]
        assert found[:3] == [200] * 3
        assert found[-1] == 429
    assert list(load_members(folder).invited.values()) == ["kitchen"]
