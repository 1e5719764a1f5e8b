"""Whether a model drops anything, and where the samples are in what it drops."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from hedgerow.client.draws import Axis, Draws
from hedgerow.client.torch import settings
from hedgerow.client.torch.dropout import Dropout, Source
from hedgerow.client.torch.masks import Masks
from hedgerow.client.torch.module import FlatModule
from hedgerow.client.torch.samples import Loss, rewinder
from hedgerow.client.torch.trial import form_of, made_up
from hedgerow.types import Samples


@final
class Dropping:
    """Finds it out once for each form of samples, with made-up ones.

    Args:
        net: the module that is trained.
        loss: of the model, which may drop too.
    """

    def __init__(self, net: FlatModule, loss: Loss) -> None:
        self._net, self._loss = net, loss
        self._found: dict[Any, Sequence[Axis] | None] = {}

    def masks(self, data: Samples, *, seed: int, round: int, client: str) -> Masks | None:
        """What a client's dropout keeps in a round; `None` if nothing is dropped. See `axes`."""
        axes = self.axes(data)
        return None if axes is None else Masks(Draws(seed, round=round, client=client), axes)

    def axes(self, data: Samples) -> Sequence[Axis] | None:
        """The dimension of the samples in each draw of a step, as far as known; `None` if nothing is dropped.

        Only the form of the data matters. The net is left as it was.
        """
        form = form_of(data)
        if form not in self._found:
            with settings.seeded(0, self._net.vector.device), torch.no_grad():
                self._found[form] = self._look(data)
        return self._found[form]

    def _look(self, data: Samples) -> Sequence[Axis] | None:
        rewind = rewinder(self._net)
        axes: Sequence[Axis] | None = ()
        for lowest in (0, 1):  # as indices of words or categories, either may be invalid
            made = made_up(data, lowest, self._net.vector.device)
            try:
                self._net.train()
                axes = sample_axes(partial(self._run, *made))
                break
            except Exception:  # of the user's model; training on the client's own samples will report it
                continue
            finally:
                rewind()
        layers = any(isinstance(m, nn.modules.dropout._DropoutNd) for m in self._net.module.modules())
        return () if axes is None and layers else axes

    def _run(self, x: Tensor, y: Tensor, samples: int, source: Source) -> None:
        with Dropout(source):
            self._loss(self._net.module(x[:samples].clone()), y[:samples])  # aligned, as all samples are


def sample_axes(run: Callable[[int, Source], Any]) -> Sequence[Axis] | None:
    """The dimension of the samples in each draw of a step; `None` if there are no draws.

    It is empty for a model that makes more draws for more samples.

    Args:
        run: takes a number of samples and a source, and makes a step's forward pass with these.
    """
    few, more = _Watched(), _Watched()
    run(2, few)
    run(3, more)
    if not few.shapes and not more.shapes:
        return None
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
