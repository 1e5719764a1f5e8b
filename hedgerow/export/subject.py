"""A model and its loss, made ready to be traced."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hedgerow.client.draws import Axis
from hedgerow.client.task import Task
from hedgerow.client.torch.dropout import Dropout, Source
from hedgerow.client.torch.loss import cross_entropy
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.settings import num_threads, seeded
from hedgerow.client.torch.tensors import kinds_of
from hedgerow.export.errors import CannotExport
from hedgerow.export.tracing.draws import Asked
from hedgerow.export.tracing.masked import MaskedNorms, mean_over, of_each
from hedgerow.export.tracing.recurrent import Loops
from hedgerow.rng import integer_seed
from hedgerow.types import Layout
from hedgerow.types import Tensor as Slot

_NOT_COUNTED = -100
"""A target that torch's cross entropy leaves out."""

OWN, CONSTANTS = "own/", "constants"
"""Names of what a step must not change: buffers that are never sent, each, and the constants."""

_CPU = torch.device("cpu")

_TORCHS_OWN = {"_flat_weights", "_flat_weight_refs"}
"""Where a recurrent layer keeps its own parameters a second time."""


@final
@dataclass(frozen=True)
class Subject:
    """A task's model, of which the values are arguments.

    Attributes:
        task: what is learned.
        module: as it trains; none of its own values count but the buffers that are never sent.
        layout: which tensor lies where in the vectors.
        mixing: names of the layers that mix the samples of a batch.
        dtype: of all that is not a whole number.
        axes: where the draws of a step have the samples, as far as it is known.
    """

    task: Task
    module: nn.Module
    layout: Layout
    mixing: Sequence[str]
    dtype: torch.dtype
    axes: Sequence[Axis] = ()

    @property
    def own(self) -> dict[str, Tensor]:
        """Buffers that are never sent, by name: constants of the graph."""
        sent = {slot.name for slot in (*self.layout.buffers, *self.layout.constants)}
        return {name: b.detach() for name, b in self.module.named_buffers() if name not in sent}

    def outputs(
        self,
        values: Mapping[str, Tensor],
        x: Tensor,
        mask: Tensor,
        *,
        place: Tensor | None = None,
        source: Source | None = None,
    ) -> tuple[Any, dict[str, Tensor]]:
        """What the model gives, and its buffers, constants and `own` afterwards, by name.

        Args:
            values: `parameters`, `buffers` and `constants`, where the layout has some, and each of `own`
                under `own/NAME`.
            x: samples `(n, ...)`.
            mask: `(n,) bool`, which of them count.
            place: of the only sample, where each is computed alone, side by side.
            source: of what dropout keeps; `None` to ask for it.
        """
        layout = self.layout
        held = dict(_parts(values["parameters"], layout.parameters))
        kept: dict[str, Tensor] = {}
        for kind, slots in (("buffers", layout.buffers), (CONSTANTS, layout.constants)):
            if slots:
                kept |= {name: part.clone() for name, part in _parts(values[kind], slots)}
        own = {name: values[f"{OWN}{name}"].clone() for name in self.own}
        before = self._attributes()
        dropout = Dropout(source or Asked(len(x), self.axes))
        dropout.places = place
        with MaskedNorms(mask), Loops(), dropout:
            found = functional_call(self.module, {**held, **kept, **own}, (x,))
        if self._attributes() != before:
            raise CannotExport("the model keeps state that is no buffer from one batch to the next")
        return found, kept | {f"{OWN}{name}": buffer for name, buffer in own.items()}

    def mean_loss(self, outputs: Any, y: Tensor, mask: Tensor) -> Tensor:
        """The loss of the samples that count: the mean over them."""
        if self._default_loss:
            if y.is_floating_point():
                return mean_over(of_each(cross_entropy, outputs, y), mask)
            rows = mask.view(-1, *[1] * (y.dim() - 1))
            return cross_entropy(outputs, torch.where(rows, y.long(), _NOT_COUNTED))
        return mean_over(of_each(self.task.loss, outputs, y), mask)

    def loss_of(self, outputs: Any, y: Tensor) -> Tensor:
        """The loss of a batch, as the task has it."""
        loss = cross_entropy if self._default_loss else self.task.loss
        assert loss is not None
        found: Tensor = loss(outputs, y)
        return found

    @property
    def loss_name(self) -> str:
        """The loss in the manifest."""
        if self._default_loss:
            return "cross_entropy"
        return str(getattr(self.task.loss, "__name__", type(self.task.loss).__name__))

    @property
    def _default_loss(self) -> bool:
        return self.task.loss is None or self.task.loss is nn.functional.cross_entropy

    def _attributes(self) -> list[dict[str, int]]:
        """What hangs on the modules beside their tensors, by identity."""
        return [
            {name: id(value) for name, value in vars(m).items() if name not in _TORCHS_OWN}
            for m in self.module.modules()
        ]


def subject_of(task: Task, dtype: str) -> Subject:
    """A task's model, as the torch trainer makes it, in training mode."""
    with num_threads(1), seeded(integer_seed(0, "constants"), _CPU):
        module = task.model()
    if not isinstance(module, nn.Module):
        raise ValueError(f"the task's model gave {module!r}; it must give a torch.nn.Module")
    decide = partial(kinds_of, statistics=task.statistics, constants=task.constants)
    flat = FlatModule(module, _CPU, decide)
    kind = getattr(torch, dtype)
    return Subject(task, module.to(kind), flat.layout, flat.batch_norms, kind)


def _parts(vector: Tensor, slots: Sequence[Slot]) -> Iterator[tuple[str, Tensor]]:
    for slot, part in zip(slots, torch.split(vector, [slot.size for slot in slots]), strict=True):
        yield slot.name, part.view(slot.shape)
