"""Three files of patients, as each device has one, and the recipe of a run on them."""

from pathlib import Path

import numpy as np

NAMES = ("garage", "kitchen", "shed")
RECIPE = """
name = "clinics"
rounds = 3
[data]
name = "own"
columns = ["age", "pressure"]
label = "sick"
classes = ["no", "yes"]
shift = [50.0, 120.0]
scale = [10.0, 20.0]
held_out = 0.25
[model]
name = "logistic"
[strategy]
clients_per_round = 3
[local]
learning_rate = 0.5
[evaluation]
clients = "all"
"""
POLICY = "masked_only = false\nevaluate = true\nstatistics = true\n"


def write_clinics(home: Path, recipe: str = RECIPE) -> list[Path]:
    """Their files, beside `clinics.toml` and `new.csv`, of patients of whom nobody knows."""
    files = []
    for place, name in enumerate(NAMES):
        random = np.random.default_rng(place)
        rows = random.normal((50, 120), (20, 25), size=(60, 2)).round(1)
        lines = [f"{age},{pressure},{'yes' if age + pressure > 170 else 'no'}" for age, pressure in rows]
        files.append(home / f"{name}.csv")
        files[-1].write_text("\n".join(["age,pressure,sick", *lines, ""]))
    (home / "clinics.toml").write_text(recipe)
    (home / "new.csv").write_text("pressure,age,name\n180,80,Ann\n\n90,20,Bob\n")
    return files
