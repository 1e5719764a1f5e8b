"""fluke: its FedAVG, one process."""

import measure
import torch
import workload as w
from fluke import DDict, FlukeENV
from fluke.algorithms.fedavg import FedAVG
from fluke.data import DataSplitter, DummyDataContainer, FastDataLoader
from fluke.utils import FederationObserver


class RoundEnd(FederationObserver):
    """Tells the recorder."""

    def __init__(self, recorder: measure.Recorder) -> None:
        self._recorder = recorder
        self.algorithm: FedAVG | None = None

    def end_round(self, round: int) -> None:
        """A round has ended."""
        self._recorder.end_round(lambda: w.flat(self.algorithm.server.model))


def main() -> None:
    """Run the rounds."""
    given = measure.arguments()
    recorder = measure.Recorder("fluke", ("fluke-fl",), given)
    torch.set_num_threads(1)
    environment = FlukeENV()
    environment.set_seed(w.SEED)
    environment.set_device("cpu")
    environment.set_inmemory(True)
    environment.set_eval_cfg(pre_fit=False, post_fit=False, locals=False, server=False)
    workload = w.WORKLOADS[given.workload]
    data = w.Clients(workload)
    loaders = [
        FastDataLoader(
            *data.tensors(client),
            num_labels=w.CLASSES,
            batch_size=w.BATCH,
            shuffle=True,
            skip_singleton=False,
        )
        for client in range(workload.clients)
    ]
    nothing = [None] * workload.clients
    container = DummyDataContainer(loaders, nothing, None, w.CLASSES)
    algorithm = FedAVG(
        workload.clients,
        DataSplitter(container),
        DDict(
            model=w.make_model(workload),
            client=DDict(
                batch_size=w.BATCH,
                local_epochs=w.EPOCHS,
                loss="CrossEntropyLoss",
                optimizer=DDict(name="SGD", lr=w.LEARNING_RATE),
                scheduler=DDict(name="StepLR", step_size=1, gamma=1),
                persistency=False,
            ),
            server=DDict(weighted=True),
        ),
    )
    end = RoundEnd(recorder)
    end.algorithm = algorithm
    algorithm.set_callbacks(end)
    algorithm.run(given.rounds, w.COHORT / workload.clients)
    recorder.finish()


if __name__ == "__main__":
    main()
