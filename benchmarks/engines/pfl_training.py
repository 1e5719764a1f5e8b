"""What each pfl process does. pfl joins the others when it is imported: `system_pfl.py` starts them."""

import measure
import numpy as np
import torch
import workload as w
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.internal.ops.selector import get_default_framework_module as get_ops
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel
from torch import Tensor, nn

NEVER = 1_000_000_000


class Module(nn.Module):
    """A model with the loss that pfl asks for."""

    def __init__(self, workload: w.Workload) -> None:
        super().__init__()
        self.inner = w.make_model(workload)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean cross entropy."""
        return nn.functional.cross_entropy(self.inner(x), y)

    def metrics(self, x: Tensor, y: Tensor) -> dict[str, object]:
        """Nothing is evaluated here."""
        raise AssertionError("nothing is to be evaluated in the timed part")


class Averaging(FederatedAveraging):
    """Counts from 1, because pfl would evaluate every client before and after training in round 0."""

    def get_next_central_contexts(self, model, iteration, *others, **named):  # type: ignore[no-untyped-def]
        """The next round's contexts."""
        return super().get_next_central_contexts(model, iteration + 1, *others, **named)


class RoundEnd(TrainingProcessCallback):
    """Tells the recorder."""

    def __init__(self, recorder: measure.Recorder) -> None:
        self._recorder = recorder

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):  # type: ignore[no-untyped-def]
        """A round has ended."""
        self._recorder.end_round(lambda: w.flat(model.pytorch_model))
        return False, Metrics()


def train(name: str, rounds: int, processes: int, recorder: measure.Recorder | None) -> None:
    """Run a workload's rounds in this process, in step with the others where there are any."""
    if get_ops().distributed.world_size != processes:
        raise RuntimeError(f"pfl runs in {get_ops().distributed.world_size} processes, not in {processes}")
    workload = w.WORKLOADS[name]
    torch.set_num_threads(1)
    torch.manual_seed(w.SEED)
    np.random.seed(w.SEED)  # noqa: NPY002  pfl draws from it
    clients = w.Clients(workload)
    cohorts = (client for number in range(1, rounds + 2) for client in clients.cohort(number))

    def dataset(client: int) -> PyTorchTensorDataset:
        x, y = clients.tensors(client)
        order = torch.randperm(len(y))
        return PyTorchTensorDataset((x[order], y[order]), user_id=str(client))

    module = Module(workload)
    model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
    data = FederatedDataset(dataset, lambda: next(cohorts))
    Averaging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=rounds + 1,
            evaluation_frequency=NEVER,
            train_cohort_size=w.COHORT,
            val_cohort_size=None,
        ),
        backend=SimulatedBackend(training_data=data, val_data=data, postprocessors=[WeightByDatapoints()]),
        model=model,
        model_train_params=NNTrainHyperParams(
            local_num_epochs=w.EPOCHS,
            local_learning_rate=w.LEARNING_RATE,
            local_batch_size=w.BATCH,
        ),
        model_eval_params=None,
        callbacks=[RoundEnd(recorder)] if recorder else [],
    )
