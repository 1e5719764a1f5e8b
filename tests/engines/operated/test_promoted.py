"""The hand-over as a whole, while a run is on: a canary on devices, the model on each, and its use there."""

import json
from dataclasses import replace

import numpy as np
from safetensors.numpy import load, save

from hedgerow.experiments.runs.promote import promote, shelf_of
from hedgerow.node.prediction import predict
from hedgerow.promotion.canary import Canary
from hedgerow.promotion.delivered import Delivered


def test_a_promoted_model_reaches_the_devices_by_a_canary_and_is_used_there(real, devices, tmp_path):
    run, folders = real.home / "run", [device.folder for device in devices.values()]

    def reached(model: str) -> None:
        there = [Delivered(folder) for folder in folders]
        real.wait(lambda: all(each.has(model) for each in there), "model on each device", 300)

    real.wait(lambda: real.rounds() >= 6, "sixth round", 300)
    first = promote(run)
    assert (first.lineage.trust, first.lineage.clients) == ("first-use", 3)
    reached(first.model)
    shelf, _ = shelf_of(run)
    opposite = save({name: np.negative(values) for name, values in load(shelf.content(first)).items()})
    wrong = shelf.promote(
        opposite, lambda number, time, model, size: replace(first, number=number, time=time, model=model)
    )
    found = promote(run, canary=Canary(0.7, better=0.1, metric="loss"))
    rule = found.rule
    assert (len(rule["asked"]), rule["measured"], rule["dropped"]) == (2, rule["asked"], {})
    for name in rule["asked"]:
        told = (devices[name].folder / "answers.jsonl").read_text().splitlines()
        assert "evaluate" in [json.loads(line)["kind"] for line in told]
    reached(found.model)
    assert json.loads(real.command("status", "--json"))["promoted"]["digest"] == found.model
    (tmp_path / "new.csv").write_text("pressure,age\n180,80\n\n90,20\n")
    for folder in folders:
        delivered = Delivered(folder)
        now = delivered.standing()[0]
        said = predict(delivered.path(now), now.description, tmp_path / "new.csv")
        assert [said.classes[row.argmax()] for row in said.values] == ["yes", "no"]
    assert [each.model for each in shelf.rollback()] == [found.model, wrong.model]
    reached(wrong.model)
