"""Run folders with known numbers."""

import json

from hedgerow.experiments.config.parse import parse
from hedgerow.experiments.config.schema import to_toml
from hedgerow.experiments.report.table import columns

FLOAT, EIGHT = "float32()", "quantize(8)"


def line(number, accuracy=None, up=(1000, 3000), down=2000, **more):
    clients = {f"hospital-{i}": {"bytes_up": u, "bytes_down": down} for i, u in enumerate(up)}
    evaluation = {} if accuracy is None else {"accuracy": accuracy, "loss": 1.0}
    return {
        "round": number, "seconds": 0.5, "bytes_up": sum(up), "bytes_down": down * len(up),
        "clients": clients, "dropped": {}, "failed": "", "metrics": {"loss": 1.0},
        "evaluation": evaluation, **more,
    }  # fmt: skip


UNTRAINED = line(0, 0.5, up=(), seconds=0.1)


def make(folder, lines, *, seed=1, pipeline=FLOAT, finished=True, target=0.7, rounds=3, name="hospitals"):
    experiment = parse(
        {
            "name": name, "seed": seed, "rounds": rounds,
            "data": {"name": "heart-disease", "partition": {"name": "natural"}},
            "model": {"name": "logistic"},
            "strategy": {"name": "fedavg", "fraction": 1.0, "pipeline": pipeline},
            "evaluation": {} if target is None else {"target_accuracy": target},
        }
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(to_toml(experiment), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines), encoding="utf-8")
    if finished:
        (folder / "model.safetensors").write_bytes(b"")
    return folder


def shown(rows):
    return {c.header.replace("\n", " "): c.cells for c in columns(rows)}


def curve(*accuracies, up, down=2000):
    return [UNTRAINED, *(line(k, a, up=up, down=down) for k, a in enumerate(accuracies, 1))]
