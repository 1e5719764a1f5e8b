"""Every file that anybody keeps, cut short, zeroed or with a bit changed: noticed, and never taken as it is.

Whatever is found in a real folder is damaged, one file at a time; what is not listed here by name is held
to the same.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow.client.app import client_app
from hedgerow.client.policy_file import PolicyError
from hedgerow.client.secure.enrolment import enrol
from hedgerow.coordinator.certificates import gateway_certificate
from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.members import invite, join, load_members
from hedgerow.coordinator.register import rebuild, served
from hedgerow.node.device import Device
from hedgerow.node.outbox import Outbox
from hedgerow.node.responder import Responder
from hedgerow.privacy.accounting import Budget
from hedgerow.privacy.events import Gaussian
from hedgerow.privacy.ledger import Ledger, LedgerError
from hedgerow.sealed import Damaged, check, seal, sealed, unsealed
from hedgerow.secure.errors import Refused
from hedgerow.server.announced import Announced, run_id
from hedgerow.server.app import train
from hedgerow.server.checkpoint import CheckpointError
from hedgerow.simulation.grid import InProcessGrid
from hedgerow.strategies import error_feedback, fedavg, quantize, scaffold, top_k
from hedgerow.types import PayloadError
from tests.attacks.gateways import public
from tests.described_runs import MASKED, OPEN, again, announced, asked, installed, joined, keys
from tests.described_runs import train as asked_to_train
from tests.support import MeanTrainer, clients

Damage = Callable[[bytes], bytes]
DAMAGES: dict[str, Damage] = {
    "cut short": lambda data: data[: len(data) // 2],
    "zeroed": lambda data: bytes(len(data)),
    "a bit": lambda data: _flipped(data, len(data) // 3),
    "last bit": lambda data: _flipped(data, len(data) - 2),
}
"""What becomes of a file."""


def _flipped(data: bytes, place: int) -> bytes:
    place = max(0, place)
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :] if data else data


def damaged(folder: Path, leave: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    """Each file of a folder in each way, one at a time; the folder is whole again after each."""
    copy = folder.with_name(f"{folder.name}.copy")
    shutil.copytree(folder, copy)
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.name not in leave]
    assert len(files) > 3
    for file in files:
        for how, damage in DAMAGES.items():
            data = file.read_bytes()
            if (changed := damage(data)) != data:
                file.write_bytes(changed)
                yield f"{file.relative_to(folder)}, {how}", file
                shutil.rmtree(folder)
                shutil.copytree(copy, folder)


@given(st.binary(max_size=200), st.integers(0, 10_000), st.integers(0, 7))
def test_a_changed_bit_of_what_is_sealed_is_noticed_or_changes_nothing_of_it(content, place, bit) -> None:
    data = sealed(content)
    assert unsealed(data) == content
    place %= len(data)
    changed = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
    with pytest.raises(Damaged):
        unsealed(changed, always=True)
    for end in range(len(data)):
        with pytest.raises(Damaged):
            unsealed(data[:end], always=True)


@given(st.dictionaries(st.text("ab", max_size=3), st.integers(0, 9) | st.text("xy")), st.integers(0, 999))
@settings(max_examples=50)
def test_a_changed_bit_of_a_sealed_table_is_noticed_or_leaves_what_is_in_it(table, place) -> None:
    data = json.dumps(seal(table)).encode()
    assert check(json.loads(data)) == table
    with suppress(ValueError):  # as JSON, or as text, it cannot be read
        found = check(json.loads(_flipped(data, place % len(data))))
        assert {key: found[key] for key in table} == table  # the name of the checksum has changed


def test_a_run_goes_on_to_the_same_model_or_names_what_cannot_be_read(tmp_path) -> None:
    """Round 3 after 2 of them, with all that SCAFFOLD and error feedback keep."""
    strategy = scaffold(weighted=False, pipeline=error_feedback(top_k(0.5), quantize(8)))
    data = clients(2)

    class Trainer(MeanTrainer):
        supports = frozenset({"correction"})

        def fit(self, model, data, local, *, correction, **where):
            return super().fit(model, data, local, **where)

    trainer = Trainer()

    def carry_on(folder: Path, rounds: int) -> tuple[bytes, set[str]]:
        app = client_app(trainer, data, strategy, state_folder=folder / "clients")
        dropped: set[str] = set()
        with InProcessGrid(app, 2, names=lambda i: data.names[i]) as grid:
            for result in train(
                grid, strategy, trainer.initial(0), trainer.layout,
                num_rounds=rounds, folder=folder, record=True,
            ):  # fmt: skip
                dropped |= set(result.dropped)
        return (folder / "model.safetensors").read_bytes(), dropped

    run = tmp_path / "run"
    carry_on(run, 2)
    shutil.copytree(run, tmp_path / "undisturbed")
    expected, _ = carry_on(tmp_path / "undisturbed", 3)
    seen = set()
    for what, file in damaged(run):
        found, dropped, why = b"", set[str](), ""
        try:
            found, dropped = carry_on(run, 3)
        except (CheckpointError, ValueError) as error:
            why = str(error)
        named = file.name in why if why else "clients" in file.parts and file.parent.name in dropped
        assert found == expected or named, (what, why)
        seen.add("refused" if why else "lost" if dropped else "recovered")
    assert seen == {"recovered", "refused", "lost"}


@pytest.mark.parametrize("kind", ["train", "train.keys"])
def test_a_device_answers_as_before_or_refuses_and_never_opens_a_masked_round_twice(tmp_path, kind) -> None:
    strategy = fedavg(pipeline=error_feedback(top_k(0.5), quantize(4))) if kind == "train" else MASKED
    about = announced(strategy=strategy)

    def request(round: int, token: str = "a"):
        content = asked_to_train(round, 0.5) if kind == "train" else keys(token, round)
        return kind, str(round), asked(about, content)

    with installed():
        device = joined(tmp_path / "device", OPEN)
        folder = device._device.folder
        enrol(folder)
        before = [device._outbox.answer(device.answer(*request(round))) for round in (1, 2)]
        shutil.copytree(tmp_path / "device", tmp_path / "undisturbed")
        other = Responder(
            Device(tmp_path / "undisturbed" / "device"),
            Outbox(tmp_path / "undisturbed" / "device" / "outbox"),
        )
        expected = other._outbox.answer(other.answer(*request(3))) if kind == "train" else None
        # The policy is its owner's to write, and so are the keys: another key is another device.
        answered = 0
        for what, _ in damaged(folder, leave=("policy.toml", "identity.key")):
            with suppress(Refused, PayloadError, PolicyError, LedgerError, ValueError):
                back = again(device)
                if kind == "train.keys":
                    with pytest.raises(Refused):
                        back.answer(*request(2, "b"))
                assert back._outbox.answer(back.answer(*request(2))) == before[1], what
                if kind == "train":
                    assert back._outbox.answer(back.answer(*request(3))) == expected, what
                answered += 1
        assert answered > 10, "most files are not needed for these answers, or had in another way"


def test_a_coordinator_reads_what_it_wrote_or_says_which_file_it_cannot(tmp_path) -> None:
    folder = FederationFolder.make(tmp_path / "federation")
    for name in ("kitchen", "garage"):
        kit = json.loads(invite(folder, name, tmp_path).read_text())
        key = ec.generate_private_key(ec.SECP384R1())
        join(folder, {**kit, "node_key": public(key), "identity": None}, lambda key, name: 7)
    rebuild(folder, load_members(folder))
    gateway_certificate(folder).context()
    folder.write("job.json", {"run": "x", "wanted": 2, "rounds": 3})

    def read():
        about = gateway_certificate(folder)
        about.context()
        return folder.settings, load_members(folder), folder.read("job.json", {}), served(folder)

    expected, refused = read(), 0
    for what, file in damaged(folder.path):
        found, why = expected, ""
        try:
            found = read()
        except (FederationError, OSError) as error:
            why, refused = str(error), refused + 1
        assert not why or file.name in why, (what, why)
        assert found[:3] == expected[:3], what
        # Nobody has signed it: by a device that knows another one's key it is noticed.
        assert found == expected or file.name == "register.toml", what
    assert refused > 10


def test_a_ledger_is_refused_where_a_figure_in_it_has_changed(tmp_path) -> None:
    file = tmp_path / "privacy.jsonl"
    ledger = Ledger(Budget(delta=1e-5), file)
    for round in (1, 2, 3):
        ledger.write(round, Gaussian(4.0), f"sum {round}", noise="system")
    data = file.read_bytes()
    for place in range(0, len(data) - 1, 7):
        file.write_bytes(_flipped(data, place))
        with suppress(LedgerError):
            kept = Ledger(Budget(delta=1e-5), file)
            assert set(ledger._entries.items()) == set(kept._entries.items()), place


def test_a_name_of_a_run_is_refused_where_a_digit_has_changed(tmp_path) -> None:
    name = run_id(tmp_path)
    data = (tmp_path / "run-id").read_bytes()
    for place in range(len(data) - 1):
        (tmp_path / "run-id").write_bytes(_flipped(data, place))
        with suppress(ValueError):
            assert run_id(tmp_path) == name
    (tmp_path / "run-id").write_text(f"{name}\n")
    assert Announced.of(tmp_path).run == name, "as it was written before there was a check"
