"""BlazeFL: the FedAvg of its contrib package, client after client or in a pool of processes."""

import tempfile
from pathlib import Path

import measure
import torch
import workload as w
from blazefl.contrib import (
    FedAvgBaseClientTrainer,
    FedAvgBaseServerHandler,
    FedAvgProcessPoolClientTrainer,
)
from blazefl.core import IPCMode
from torch import Generator, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset


class Models:
    """Gives the one model."""

    def select_model(self, model_name: str) -> nn.Module:
        """A fresh model."""
        torch.set_num_threads(1)  # a worker's own, where this runs in one
        return w.make_model(w.WORKLOADS[model_name])


class Data:
    """The clients' data, as BlazeFL asks for them."""

    def __init__(self, workload: w.Workload) -> None:
        self._workload = workload
        self._clients = w.Clients(workload)

    def __getstate__(self) -> w.Workload:
        return self._workload

    def __setstate__(self, workload: w.Workload) -> None:
        self.__init__(workload)  # type: ignore[misc]

    def get_dataset(self, type_: str, cid: int | None) -> Dataset:
        """A client's samples."""
        return TensorDataset(*self._clients.tensors(cid or 0))

    def set_dataset(self, type_: str, cid: int | None, dataset: Dataset) -> None:
        """Nothing changes a client's samples here."""

    def get_dataloader(
        self, type_: str, cid: int | None, batch_size: int | None, generator: Generator | None
    ) -> DataLoader:
        """A client's batches."""
        return DataLoader(
            self.get_dataset(type_, cid), batch_size=batch_size, shuffle=True, generator=generator
        )


def main() -> None:
    """Run the rounds."""
    given = measure.arguments()
    recorder = measure.Recorder("blazefl", ("blazefl",), given)
    torch.set_num_threads(1)
    workload = w.WORKLOADS[given.workload]
    data = Data(workload)
    common = {"model_selector": Models(), "model_name": workload.name, "dataset": data, "device": "cpu"}
    common |= {"num_clients": workload.clients, "seed": w.SEED, "batch_size": w.BATCH}
    handler = FedAvgBaseServerHandler(
        **common, global_round=given.rounds, sample_ratio=w.COHORT / workload.clients
    )
    local = {"epochs": w.EPOCHS, "lr": w.LEARNING_RATE}
    with tempfile.TemporaryDirectory() as folder:
        if given.processes == 1:
            trainer = FedAvgBaseClientTrainer(**common, **local)
        else:
            trainer = FedAvgProcessPoolClientTrainer(
                **common, **local,
                share_dir=Path(folder) / "shared", state_dir=Path(folder) / "state",
                num_parallels=given.processes, ipc_mode=IPCMode.SHARED_MEMORY,
            )  # fmt: skip
        while not handler.if_stop():
            cohort = handler.sample_clients()
            trainer.local_process(handler.downlink_package(), cohort)
            for package in trainer.uplink_package():
                handler.load(package)
            recorder.end_round(lambda: w.flat(handler.model))
        recorder.finish()


if __name__ == "__main__":
    main()
