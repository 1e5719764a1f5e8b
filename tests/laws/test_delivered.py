"""A promoted model comes to a device whole, or not at all, whenever either side is killed."""

import json

import pytest

from hedgerow.promotion import delivered
from hedgerow.promotion.delivered import FILE, PATH, Delivered, NotTaken
from hedgerow.promotion.shelf import Shelf
from tests.killed_at import Killed, killed_at
from tests.promoted import content, digest, make


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch) -> None:
    monkeypatch.setattr(delivered, "PIECE", 64)


class Coordinator:
    """What stands in a folder, as a device asks for it; and how often it was asked."""

    def __init__(self, folder) -> None:
        folder.mkdir()
        self.shelf, self.asked = Shelf(folder), []

    def __call__(self, path: str) -> bytes:
        self.asked.append(path)
        now = self.shelf.current()
        if path == PATH:
            return json.dumps(now.to_json()).encode()
        _, _, model, number = path.split("/")
        assert model == now.model
        return self.shelf.content(now)[int(number) * 64 :][:64]


def fetched(device: Delivered, ask) -> None:
    for _ in range(100):
        if device.fetch(ask) is not None:
            return
    raise AssertionError


def test_the_model_that_stands_and_the_one_before_it_are_kept(tmp_path):
    coordinator, device = Coordinator(tmp_path / "federation"), Delivered(tmp_path / "device")
    (tmp_path / "device").mkdir()
    for value in (1, 2, 3):
        coordinator.shelf.promote(content(value, 40), make)
        fetched(device, coordinator)
    assert [each.number for each in device.standing()] == [3, 2]
    assert sorted(file.stem for file in (tmp_path / "device" / "models").iterdir()) == sorted(
        digest(content(value, 40)) for value in (2, 3)
    )
    assert digest(device.path(device.standing()[0]).read_bytes()) == digest(content(3, 40))
    coordinator.shelf.rollback()
    coordinator.asked.clear()
    fetched(device, coordinator)
    assert coordinator.asked == [PATH]  # the model is still there
    assert [each.number for each in device.standing()] == [2, 3]
    assert device.has(digest(content(2, 40)))


def test_killed_before_any_file_operation_the_device_has_a_whole_model_and_goes_on(tmp_path):
    coordinator = Coordinator(tmp_path / "federation")
    operation, seen = 0, set()
    while True:
        folder = tmp_path / str(operation)
        folder.mkdir()
        device = Delivered(folder)
        coordinator.shelf.promote(content(1, 40), make)
        fetched(device, coordinator)
        coordinator.shelf.promote(content(2, 40), make)
        try:
            with killed_at(operation) as done:
                fetched(device, coordinator)
            break
        except Killed:
            again = Delivered(folder)
            stands = again.standing()[0]
            seen.add(stands.model)
            assert digest(again.path(stands).read_bytes()) == stands.model
            fetched(again, coordinator)
            assert again.has(digest(content(2, 40)))
        operation += 1
    assert operation >= 6
    assert len(done) == operation
    assert seen == {digest(content(1, 40)), digest(content(2, 40))}


def test_a_piece_that_was_half_written_is_fetched_again(tmp_path):
    coordinator, device = Coordinator(tmp_path / "federation"), Delivered(tmp_path)
    model = coordinator.shelf.promote(content(1, 40), make)
    assert device.fetch(coordinator) is None
    partial = tmp_path / "models" / f"{model.model}.partial"
    partial.write_bytes(partial.read_bytes() + b"torn")
    fetched(device, coordinator)
    assert digest(device.path(model).read_bytes()) == model.model


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ({"model": "b" * 64}, "not match its hash"),
        ({"model": "../../etc"}, "cannot be read"),
        ({"size": 2**40}, "at most"),
        ({"size": 0}, "at most"),
        ({"size": 10**6}, "less of its promoted model than it announced"),
        (None, "cannot be read"),
        ({"description": "x" * 2**21}, "too long"),
    ],
)
def test_a_model_that_is_not_what_is_said_of_it_is_not_taken_and_the_one_before_stands(tmp_path, lie, told):
    coordinator, device = Coordinator(tmp_path / "federation"), Delivered(tmp_path)
    first = coordinator.shelf.promote(content(1, 40), make)
    fetched(device, coordinator)
    coordinator.shelf.promote(content(2, 40), make)
    sent = coordinator.shelf.current()

    def lying(path: str) -> bytes:
        if path == PATH:
            return json.dumps(None if lie is None else {**sent.to_json(), **lie}).encode()
        return coordinator(path.replace("b" * 64, sent.model))

    with pytest.raises(NotTaken, match=told):
        fetched(device, lying)
    assert device.standing()[0].model == first.model
    assert [file.name for file in (tmp_path / "models").iterdir()] == [f"{first.model}.safetensors"]


def test_what_is_no_safetensors_is_not_taken_whatever_its_hash_and_a_torn_record_is_made_anew(tmp_path):
    data = b"\x80\x04cos\nsystem\n" * 3  # a pickle, say
    promotion = make(1, "2026-01-01", digest(data), len(data))
    device = Delivered(tmp_path)
    with pytest.raises(NotTaken, match="not a safetensors file"):
        fetched(device, lambda path: json.dumps(promotion.to_json()).encode() if path == PATH else data)
    assert device.standing() == []
    (tmp_path / FILE).write_text("{")
    assert not device.has(promotion.model)
    coordinator = Coordinator(tmp_path / "federation")
    coordinator.shelf.promote(content(1, 40), make)
    fetched(device, coordinator)
    assert device.has(digest(content(1, 40)))
