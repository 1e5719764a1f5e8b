"""The golden graphs are taken here, and give what was found when they were written."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.inspection import inspect
from hedgerow.graphs.offer import Offer
from hedgerow.secure.primitives import identity_key
from hedgerow.types import LocalTraining, Model, Samples
from tests.golden.make_graphs import FOLDER, MOST, NETS, SECRET, allowed
from tests.phone_fits import PhoneFit


@cache
def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "fits.json").read_text())
    return found


def array(given: dict[str, str]) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(given["hex"]), given["dtype"])


def test_what_other_languages_may_allow_is_what_this_one_allows():
    assert json.loads((FOLDER / "allowed.json").read_text()) == allowed()
    assert len(allowed()["operators"]) == 67


def test_there_is_each_file_and_no_other():
    names = {f"{name.replace(' ', '-')}.graphs" for name in NETS} | {"allowed.json", "fits.json"}
    assert {path.name for path in FOLDER.iterdir()} == names
    assert set(told()) == set(NETS)


@pytest.mark.parametrize("name", NETS)
def test_golden_graphs_are_taken_and_train_as_they_did(name):
    case = told()[name]
    offer = Offer.from_json(case["offer"])
    graphs: Graphs = offer.opened((FOLDER / f"{name.replace(' ', '-')}.graphs").read_bytes())
    assert offer.signer == identity_key(SECRET).hex()
    assert inspect(graphs, MOST) == case["needed"]
    x, y = (array(case["samples"][each]) for each in ("inputs", "targets"))
    data = Samples(x.reshape(len(y), *case["samples"]["shape"]), y)
    correction = None if case["correction"] is None else array(case["correction"])
    model = Model(*(array(case["model"][each]) for each in ("parameters", "buffers", "constants")))
    fit = PhoneFit(graphs, model, data, LocalTraining(**case["local"]), correction).fit()
    np.testing.assert_allclose(fit.delta, array(case["found"]["delta"]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(fit.buffers, array(case["found"]["buffers"]), rtol=0, atol=1e-6)
    assert fit.metrics["loss"] == pytest.approx(case["found"]["loss"], abs=1e-6)
