"""A device's own file is what the recipe's schema says, or is refused by name before anything is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hedgerow.client.guard import Guard
from hedgerow.client.policy import AgainstPolicy, Policy
from hedgerow.datasets.held_out import BY_ROW, hold_out_of
from hedgerow.datasets.own_file import load_own, own
from hedgerow.datasets.packing import DataFileError
from hedgerow.experiments.config.device_recipe import device_run
from hedgerow.experiments.config.recipe import load
from hedgerow.recipe.own_data import DoesNotFit, OwnSchema
from hedgerow.types import Samples

SCHEMA = OwnSchema(
    columns=("age", "pressure"), label="sick", classes=("no", "yes"), shift=(50.0, 120.0), scale=(10.0, 20.0),
    lowest=(0.0, 40.0), highest=(120.0, 260.0),
)  # fmt: skip
GOOD = "pressure,name,sick,age\n140,x,yes,60\n100,y,no,40\n"


def table(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "own.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_columns_are_taken_by_name_and_scaled_by_the_recipes_constants(tmp_path) -> None:
    samples = load_own(table(tmp_path, GOOD), SCHEMA)
    assert samples.x.tolist() == [[1.0, 1.0], [-1.0, -1.0]]
    assert samples.y.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age,sick\n60,yes\n", "no column 'pressure'; it has 'age', 'sick'"),
        ("age,presure,sick\n60,140,yes\n", "Did you mean 'presure'"),
        (GOOD.replace("yes", "Yes"), "row 2: column 'sick' is 'Yes'; it must be one of 'no', 'yes'"),
        (GOOD.replace(",60", ",160"), "row 2: column 'age' is '160'; it must be a number from 0 to 120"),
        (GOOD.replace("100", "1e9"), "row 3: column 'pressure' is '1e9'; it must be a number from 40 to 260"),
        (GOOD.replace("100", "nan"), "row 3: column 'pressure' is 'nan'"),
        (GOOD.replace("100", ""), "row 3: column 'pressure' is ''"),
        (GOOD.replace("100,y", "100"), "row 3 has 3 cells; the first row has 4"),
        ("age,age,pressure,sick\n1,2,50,no\n", "two columns 'age'"),
        ("age,pressure,sick\n", "no row of data"),
        ("", "no column 'age'; it has none"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, text, expected) -> None:
    with pytest.raises(DoesNotFit, match=expected):
        load_own(table(tmp_path, text), SCHEMA)


def test_numbers_to_predict_need_no_classes(tmp_path) -> None:
    schema = OwnSchema(columns=("age",), label="pressure")
    assert load_own(table(tmp_path, GOOD), schema).y.tolist() == [140.0, 100.0]
    for wrong in ("high", "-inf", "1e39", "-1e300"):
        with pytest.raises(DoesNotFit, match=f"column 'pressure' is '{wrong}'; it must be a finite number"):
            load_own(table(tmp_path, GOOD.replace("140", wrong)), schema)


@pytest.mark.parametrize(("bounds", "allowed"), [
    ({}, "a finite number within float32's range"),
    ({"lowest": (-1e9,)}, "a number of at least -1e\\+09, within float32's range"),
    ({"highest": (1e9,)}, "a number of at most 1e\\+09, within float32's range"),
])  # fmt: skip
def test_a_number_that_a_trainer_cannot_hold_is_refused_and_becomes_no_infinity(
    tmp_path, bounds, allowed
) -> None:
    schema = OwnSchema(columns=("age", "pressure"), label="sick", classes=("no", "yes"), **bounds)
    assert np.isfinite(load_own(table(tmp_path, GOOD), schema).x).all()
    for wrong in ("1e301", "-1e301", "1e400"):
        with pytest.raises(DoesNotFit, match=rf"row 3: column 'pressure' is '{wrong}'; it must be {allowed}"):
            load_own(table(tmp_path, GOOD.replace("100", wrong)), schema)
    np.savez(tmp_path / "own.npz", x=np.full((1, 2), -1e301), y=np.zeros(1, int))
    with pytest.raises(DoesNotFit, match=rf"x\[0, 0\] is -1e\+301; it must be {allowed}"):
        load_own(tmp_path / "own.npz", schema)


def test_arrays_and_pictures_fit_a_shape(tmp_path) -> None:
    schema = OwnSchema(shape=(1, 2, 3), classes=("cat", "dog"))
    file = tmp_path / "own.npz"
    np.savez(file, x=np.ones((4, 1, 2, 3)), y=np.array([0, 1, 1, 0]))
    assert load_own(file, schema).y.tolist() == [0, 1, 1, 0]
    np.savez(file, x=np.ones((4, 1, 2, 3)), y=np.array(["cat", "dog", "cow", "cat"]))
    with pytest.raises(DoesNotFit, match=r"y\[2\] is 'cow'; it must be one of 'cat', 'dog'"):
        load_own(file, schema)
    np.savez(file, x=np.ones((4, 2, 3)), y=np.zeros(4, int))
    with pytest.raises(DoesNotFit, match=r"x float64 \(4, 2, 3\).*\(n, 1, 2, 3\)"):
        load_own(file, schema)
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3) * 51
    for name in ("dog", "cat"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name / "1.png")
    samples = load_own(tmp_path / "pictures", schema)
    assert samples.y.tolist() == [0, 1]
    assert np.array_equal(samples.x[1, 0], (pixels / 255).astype(np.float32))
    (tmp_path / "pictures" / "cow").mkdir()
    Image.fromarray(pixels).save(tmp_path / "pictures" / "cow" / "1.png")
    with pytest.raises(DoesNotFit, match="'cow'; it must be one of 'cat', 'dog'"):
        load_own(tmp_path / "pictures", schema)


def test_what_cannot_be_read_is_named(tmp_path) -> None:
    with pytest.raises(DataFileError, match="does not exist"):
        load_own(tmp_path / "none", SCHEMA)
    (tmp_path / "own.txt").write_text("x")
    with pytest.raises(DataFileError, match=r"give a \.csv or \.npz file"):
        load_own(tmp_path / "own.txt", SCHEMA)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"columns": ()}, "columns and shape are empty"),
        ({"classes": ("no",)}, "two or more"),
        ({"classes": ("no", "no")}, "its own name"),
        ({"label": "age"}, "one of columns"),
        ({"scale": (0.0, 1.0)}, "cannot be 0"),
        ({"highest": (1e40,)}, "highest is .*; after shift and scale it must be within float32's range"),
        ({"lowest": (0.0, 50.0), "scale": (1e-38, 1e-40)}, "lowest is .*; after shift and scale"),
        ({"scale": (1.0, 1.0, 1.0)}, "3 numbers; it must have one, or one for each of the 2 columns"),
        ({"shift": (float("nan"),)}, "finite"),
        ({"shape": (3,)}, "3 values; there are 2 columns"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(changes, expected) -> None:
    with pytest.raises(ValueError, match=expected):
        OwnSchema(**{**SCHEMA.to_json(), **changes})


def test_a_schema_comes_back_from_a_description() -> None:
    assert OwnSchema.from_json(SCHEMA.to_json()) == SCHEMA
    with pytest.raises(ValueError, match="'files'"):
        OwnSchema.from_json({**SCHEMA.to_json(), "files": ["/etc/passwd"]})


@given(st.lists(st.integers(0, 30), max_size=40), st.lists(st.integers(0, 30), max_size=20), st.randoms())
def test_a_row_keeps_its_side_in_a_file_that_grows_or_is_sorted_anew(first, more, random) -> None:
    def sides(values: list[int]) -> dict[int, bool]:
        samples = Samples(np.array(values, np.float32).reshape(-1, 1), np.zeros(len(values), int))
        trained, held = hold_out_of(lambda: samples, len(samples), 0.3, BY_ROW, client="a", seed=1)
        assert sorted([*trained, *held]) == list(range(len(values)))
        found = {int(samples.x[place, 0]): True for place in held}
        assert not set(found) & {int(samples.x[place, 0]) for place in trained}
        return {value: value in found for value in values}

    grown = [*first, *more]
    random.shuffle(grown)
    before, after = sides(first), sides(grown)
    assert all(after[value] == side for value, side in before.items())


def test_a_simulation_has_the_files_as_its_clients(tmp_path) -> None:
    for name in ("attic", "barn"):
        table(tmp_path, GOOD).rename(tmp_path / f"{name}.csv")
    files = tuple(str(tmp_path / f"{name}.csv") for name in ("attic", "barn"))
    about = {key: tuple(v) if isinstance(v, list) else v for key, v in SCHEMA.to_json().items()}
    data = own(**about, files=files, test_file=files[0])
    assert (data.clients, len(data.train), len(data.test)) == (("attic", "barn"), 4, 2)
    with pytest.raises(ValueError, match="is on the devices"):
        own(**about)


def test_a_recipe_knows_the_model_without_any_data(tmp_path) -> None:
    file = tmp_path / "clinics.toml"
    file.write_text(
        'name = "clinics"\nrounds = 1\n[data]\nname = "own"\ncolumns = ["age", "pressure"]\n'
        'classes = ["no", "yes", "maybe"]\n[model]\nname = "logistic"\n'
    )
    experiment = load(str(file))
    assert experiment.elsewhere
    assert experiment.data.held_out_by == BY_ROW
    assert experiment.factory().arguments == {"input_shape": (2,), "num_classes": 3}
    assert sum(p.numel() for p in experiment.task().model().parameters()) == 9


def test_a_stock_node_takes_its_own_file_by_the_schema_and_none_that_a_run_names(tmp_path) -> None:
    recipe, secret = tmp_path / "clinics.toml", tmp_path / "secret.csv"
    recipe.write_text(
        'name = "clinics"\nrounds = 1\n[data]\nname = "own"\ncolumns = ["pressure"]\nlabel = "sick"\n'
        'classes = ["yes", "no"]\nheld_out = 0.5\n[model]\nname = "logistic"\n'
    )
    secret.write_text(GOOD.replace("140", "7"))
    policy = replace(Policy.unenrolled(), recipes=(str(recipe),), data=(str(secret), "own"))
    overrides = [f"data.files=['{secret}']", f"data.test_file='{secret}'"]
    guard = Guard(policy, data=str(table(tmp_path, GOOD)))
    data = device_run(str(recipe), overrides, guard, "clinic").data()
    rows = [data.samples("clinic"), data.held_out("clinic")]
    assert sorted(float(x[0]) for part in rows for x in part.x) == [100.0, 140.0]
    assert sorted(int(y) for part in rows for y in part.y) == [0, 1]
    with pytest.raises(AgainstPolicy, match="rule data: the run needs a file or folder of the device's own"):
        device_run(str(recipe), overrides, Guard(policy), "clinic")
