"""Data: embedded sets, downloads with pinned hashes, the user's own, and splits among clients."""

from hedgerow.datasets.arrays import from_arrays, from_npz
from hedgerow.datasets.dataset import Dataset, Federation, Partition
from hedgerow.datasets.flower import from_flower
from hedgerow.datasets.folder import from_folder
from hedgerow.datasets.generated import Generated, from_function
from hedgerow.datasets.held_out import HeldOut
from hedgerow.datasets.loading import DATASETS, load_dataset
from hedgerow.datasets.packing import DataFileError
from hedgerow.datasets.partitions import PARTITIONS, dirichlet, iid, natural, quantity_skew, shards
from hedgerow.datasets.tables import from_csv, from_parquet

__all__ = [
    "DATASETS",
    "PARTITIONS",
    "DataFileError",
    "Dataset",
    "Federation",
    "Generated",
    "HeldOut",
    "Partition",
    "dirichlet",
    "from_arrays",
    "from_csv",
    "from_flower",
    "from_folder",
    "from_function",
    "from_npz",
    "from_parquet",
    "iid",
    "load_dataset",
    "natural",
    "quantity_skew",
    "shards",
]
