"""The four installs, from the wheel, into fresh environments: what each brings, offers and weighs."""

import json

import pytest

DEVICE = ("join", "leave", "enrol", "register", "policy")
COORDINATOR = ("up", "rehearse", "invite", "status", "run", "sweep", "list")
MOST = {"": 160, "torch": 1300, "server": 420, "simulation": 1600}
"""Megabytes: half as much again as there were when this was written."""

LONG = pytest.mark.long  # to unpack torch takes as long as everything else


@pytest.mark.parametrize(
    ("extra", "brings", "lacks"),
    [
        ("", ("numpy", "cryptography"), ("flwr", "torch", "pooch", "h11")),
        ("server", ("flwr", "pydantic", "h11", "starlette"), ("torch", "cloudpickle", "matplotlib")),
        pytest.param("torch", ("torch", "numpy"), ("flwr", "pooch", "h11"), marks=LONG),
        pytest.param("simulation", ("torch", "flwr", "cloudpickle"), ("matplotlib", "ray"), marks=LONG),
    ],
)
def test_an_install_has_its_packages_offers_its_commands_and_names_the_extra_of_others(
    environment, capsys, tmp_path, extra, brings, lacks
):
    made = environment(extra)
    megabytes = made.megabytes()
    with capsys.disabled():
        print(f"\nhedgerow{f'[{extra}]' if extra else ''}: {megabytes:.0f} MB")
    assert megabytes < MOST[extra]
    assert made.importable(*brings, *lacks) == list(brings)
    listed = made.run("hedgerow", "--help").stdout
    offered = [name for name in (*DEVICE, *COORDINATOR) if f"│ {name} " in listed]
    assert offered == [*DEVICE, *(COORDINATOR if "flwr" in brings else ())]
    assert "masked_only = " in made.run("hedgerow", "policy", "show").stdout
    kit = {"hedgerow": "0.1", "federation": "0" * 16, "name": "a", "address": "https://127.0.0.1:1"}
    (tmp_path / "a.kit").write_text(json.dumps(kit))
    tested = made.run(
        "hedgerow", "join", str(tmp_path / "a.kit"), "--data", str(tmp_path / "a.kit"), "--selftest"
    )
    assert (tested.returncode, tested.stderr) == (1, ""), tested.stdout
    assert "failed  coordinator: 127.0.0.1:1 does not answer" in tested.stdout
    ran = made.run("hedgerow", "run", "heart", "rounds=1", "--out", str(tmp_path / "run"))
    if extra == "simulation":
        assert ran.returncode == 0, ran.stderr
        return
    missing = "torch" if extra == "server" else "server"
    assert ran.returncode == 1
    assert f'install it with: pip install "hedgerow[{missing}]"' in ran.stderr
    assert "Traceback" not in ran.stderr
