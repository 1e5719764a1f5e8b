"""Bad recipes, overrides and files that a recipe names: what the user is told."""

import re
from pathlib import Path

import pytest

from hedgerow.experiments.config.errors import ConfigError
from hedgerow.experiments.config.recipe import load, recipe_text
from tests.faults.configurations import GOOD


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("rounds", "'rounds' is not an override; write key=value, as rounds=5"),
        ("=3", "'=3' is not an override"),
        ("strategy..name=x", "is not an override"),
        ("rounds.x=3", "rounds.x: rounds is not a table, it is 40"),
        ("roundz=3", "roundz = 3: there is no such key"),
        ("rounds=many", 'rounds = "many": it must be a whole number'),
        ("strategy.pipeline=quantise(8)", "no transform 'quantise'"),
        ("sweep.rounds=3", 'sweep."rounds" = 3: it must be a list with at least one value'),
        ("sweep.rounds=[]", 'sweep."rounds" = []: it must be a list with at least one value'),
        ("sweep.rounds=[2, 3, 2]", 'sweep."rounds" = [2, 3, 2]: 2 occurs twice'),
        ("sweep.rounds=[2, -3]", 'sweep."rounds" = -3: it must be a whole number of at least 1'),
        ("sweep.local.epoch=[2, 3]", 'sweep."local.epoch": there is no such key'),
    ],
)
def test_a_bad_override_is_told(override: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("demo", [override])
    assert text in str(caught.value)
    assert str(caught.value).startswith("1 mistake in demo")


def test_bad_overrides_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load("heart", ["rounds", "=x", "rounds.y=1"])
    assert len(caught.value.mistakes) == 3


def test_a_file_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('name = "x"\nrounds = \n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"it is not TOML: .*line 2"):
        load(file)


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="it is not UTF-8 text: byte 8 is 0xff"):
        load(file)


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"no file 'demmo' and no recipe of that name.*Did you mean 'demo'\?"
    ):
        load("demmo")
    with pytest.raises(ConfigError, match=r"no recipe 'hart'; there is .*Did you mean 'heart'\?"):
        recipe_text("hart")


def test_a_sweep_that_is_no_table_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f"sweep = [1, 2]\n{GOOD}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sweep = \[1, 2\]: it must be a table of lists"):
        load(file)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("", "data.label: it must be given"),
        ('lable = "sick"', 'data.lable = "sick": there is no such key; allowed are partition, held_out'),
        ('label = "sick"\ntest = "x"', 'data.test = "x": it must be a number'),
    ],
)  # fmt: skip
def test_options_of_the_users_own_file_are_checked_without_reading_it(
    tmp_path: Path, keys: str, text: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xff not a table")
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('name = "fashion-mnist"', f'name = "rows.csv"\n{keys}'), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(text)):
        load(file)


def test_a_file_of_a_kind_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"")
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('"fashion-mnist"', '"rows.xlsx"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data\.name = .*rows\.xlsx.*\.npz"):
        load(file)


def test_a_model_file_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("1 / 0\n", encoding="utf-8")
    (tmp_path / "fine.py").write_text("def make(num_classes, width=3): ...\n", encoding="utf-8")
    file = tmp_path / "mine.toml"
    file.write_text(GOOD.replace('"logistic"', '"net.py:make"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        load(file)
    file.write_text(GOOD.replace('"logistic"', '"fine.py:make"\nwidht = 4'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no option 'widht'.*Did you mean 'width'\?"):
        load(file)
