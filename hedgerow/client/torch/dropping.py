"""Where the samples are in what a model drops."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from hedgerow.client.draws import Axis
from hedgerow.client.torch import settings
from hedgerow.client.torch.dropout import Dropout, Source
from hedgerow.client.torch.masks import Masks
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import Loss
from hedgerow.client.torch.trial import form_of, made_up
from hedgerow.types import Samples


@final
class Dropping:
    """Finds it out once for each form of samples, with a model of its own and made-up samples.

    Args:
        build: makes the model.
        loss: of the model, which may drop too.
        device: of the model.
    """

    def __init__(self, build: Callable[[], nn.Module], loss: Loss, device: torch.device) -> None:
        self._build, self._loss, self._device = build, loss, device
        self._found: dict[Any, Sequence[Axis]] = {}
        self.masks = Masks(self.axes)
        """What a client's dropout keeps."""

    def axes(self, data: Samples) -> Sequence[Axis]:
        """The dimension of the samples in each draw of a step, as far as it is known.

        Only the form of the data matters.
        """
        form = form_of(data)
        if form not in self._found:
            with settings.seeded(0, self._device), torch.no_grad():
                self._found[form] = self._look(data)
        return self._found[form]

    def _look(self, data: Samples) -> Sequence[Axis]:
        for lowest in (0, 1):  # as indices of words or categories, either may be invalid
            net = FlatModule(self._build(), self._device)
            try:
                return sample_axes(partial(self._run, net, *made_up(data, lowest, self._device)))
            except Exception:  # of the user's model; training on the client's own samples will report it
                continue
        return ()

    def _run(self, net: FlatModule, x: Tensor, y: Tensor, samples: int, source: Source) -> None:
        with Dropout(source):
            self._loss(net.module(x[:samples]), y[:samples])


def sample_axes(run: Callable[[int, Source], Any]) -> Sequence[Axis]:
    """The dimension of the samples in each draw of a step.

    It is empty for a model that makes more draws for more samples.

    Args:
        run: takes a number of samples and a source, and makes a step's forward pass with these.
    """
    few, more = _Watched(), _Watched()
    run(2, few)
    run(3, more)
    if len(few.shapes) != len(more.shapes):
        return ()
    return [
        next((k for k, (a, b) in enumerate(zip(*pair, strict=False)) if a != b), None)
        for pair in zip(few.shapes, more.shapes, strict=True)
    ]


class _Watched:
    """A `Source` that drops nothing, and keeps the shapes."""

    def __init__(self) -> None:
        self.shapes: list[Sequence[int]] = []

    def whole(self, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        self.shapes.append(tuple(shape))
        return like.new_ones(shape)

    def each(self, samples: int, shape: Sequence[int], probability: float, like: Tensor) -> Tensor:
        raise AssertionError("there is no vmap around it")
