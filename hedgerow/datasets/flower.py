"""Partitioners of flwr-datasets as partitions."""

import copy
from importlib import import_module
from typing import Any

import numpy as np

from hedgerow.datasets.dataset import Dataset, Partition, Split
from hedgerow.datasets.partitions import client_names


def from_flower(partitioner: Any) -> Partition:
    """Split samples as a flwr-datasets partitioner does.

    The partitioner gets a table with the columns `"label"` (the class), `"client"`
    (the name of the natural client, if there are any) and `"index"`: name one of
    the first two in its `partition_by`. Its own seed decides; the seed of the split
    has no effect. It is copied for each split, because it accepts only one data set.

    Args:
        partitioner: any object with flwr-datasets' interface: a settable
            `dataset`, `num_partitions` and `load_partition(number)`.

    Raises:
        TypeError: it has no such interface.
        ImportError: when splitting, if Hugging Face `datasets`, which comes with
            flwr-datasets, is not installed.
        ValueError: when splitting, if it gives a sample to two clients, or a client
            no sample.
    """
    kind = type(partitioner)
    for attribute in ("dataset", "num_partitions", "load_partition"):
        if not hasattr(kind, attribute):
            raise TypeError(
                f"the partitioner is a {kind.__name__}, which has no {attribute!r}; it must be one of"
                " flwr-datasets', such as flwr_datasets.partitioner.DirichletPartitioner"
            )

    def split(dataset: "Dataset", seed: int) -> Split:
        used = copy.deepcopy(partitioner)
        used.dataset = _table(dataset)
        indices = tuple(
            np.asarray(used.load_partition(k)["index"], np.int64) for k in range(used.num_partitions)
        )
        return client_names(len(indices)), indices

    return Partition("flower", f"flwr-datasets' {kind.__name__}", split)


def _table(dataset: "Dataset") -> Any:
    try:
        hugging_face = import_module("datasets")
    except ImportError as problem:
        raise ImportError("a flwr-datasets partitioner needs: pip install flwr-datasets") from problem
    columns = {"index": np.arange(len(dataset.train)), "label": dataset.train.y}
    if dataset.natural is not None:
        columns["client"] = np.array(dataset.clients)[dataset.natural]
    return hugging_face.Dataset.from_dict(columns)
