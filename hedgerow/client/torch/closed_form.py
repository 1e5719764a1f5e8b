"""A last layer that is computed, not trained: clients send sums over their samples once, the server solves.

With features `f` of a frozen model and `x = (f, 1)`, a client's statistics are the means over its samples of
`x x'` (ridge only: its upper triangle) and of `x y'`, where `y` is 1 at a sample's class. They are parameters
of the model, which start at zero, and a sample's loss is minus the score

    z_c = x' M e_c + x' G x

of its class. That is linear in `M` and `G`: one step of gradient descent on all samples, with a learning
rate of 1, adds exactly the statistics, and the mean weighted by examples is that of all samples together.
So they are clipped, noised, quantised, masked and summed as any update is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hedgerow import checks
from hedgerow.client.one_shot import HEADS, RIDGE, one_shot_task
from hedgerow.client.task import Task
from hedgerow.client.torch.transformed import Base, check_base, load, plain_module

_UNSEEN = -1e9
"""The score of a class that no client has."""


@final
class ComputedLayer(nn.Module):
    """A linear layer whose weights follow from statistics: in training its scores are linear in them.

    Args:
        features: size of its inputs.
        classes: number of its outputs.
        ridge: strength of the penalty per sample; `None` for class means.
    """

    def __init__(self, features: int, classes: int, ridge: float | None) -> None:
        super().__init__()
        self.ridge, size = ridge, features + 1
        self._known: tuple[tuple[int, ...], Tensor] | None = None
        self.moments = nn.Parameter(torch.zeros(size, classes))
        if ridge is not None:
            rows, columns = torch.triu_indices(size, size)
            self.register_buffer("rows", rows.clone(), persistent=False)
            self.register_buffer("columns", columns.clone(), persistent=False)
            self.gram = nn.Parameter(torch.zeros(len(rows)))

    def forward(self, features: Tensor) -> Tensor:
        """`(n, features) -> (n, classes)`: logarithms of probabilities; in training, the linear scores."""
        x = F.pad(features, (0, 1), value=1.0)
        if not self.training:
            return F.log_softmax(x @ self._weights().to(x.dtype), dim=1)
        scores = x @ self.moments
        if self.ridge is not None:
            scores = scores + ((x @ self._triangle()) * x).sum(1, keepdim=True)
        return scores

    def _weights(self) -> Tensor:
        """`solved()`, computed once for all batches of an evaluation."""
        if torch.compiler.is_compiling():  # a program computes them itself
            return self.solved()
        versions = tuple(p._version for p in self.parameters())
        if self._known is None or self._known[0] != versions:
            self._known = versions, self.solved()
        return self._known[1]

    @torch.no_grad()
    def solved(self) -> Tensor:
        """The weights, `(features + 1, classes) float64`; the last row is the offset."""
        moments = self.moments.double()
        return _nearest(moments) if self.ridge is None else self._solved(moments, self.ridge)

    def _solved(self, moments: Tensor, ridge: float) -> Tensor:
        """`(G + ridge n)^-1 M`; what noise has made negative in `G` counts as zero."""
        triangle = self._triangle().double()
        gram = triangle + triangle.triu(1).T
        sizes, directions = torch.linalg.eigh(gram)
        sizes = sizes.clamp(min=0) + ridge * gram[-1, -1].clamp(min=0)
        inverse = torch.where(sizes > 0, 1 / sizes, 0.0)
        weights: Tensor = (directions * inverse) @ (directions.T @ moments)
        return weights

    def _triangle(self) -> Tensor:
        size = len(self.moments)
        places: Any = (self.rows, self.columns)
        triangle: Tensor = self.gram.new_zeros(size, size).index_put(places, self.gram)
        return triangle


def _nearest(moments: Tensor) -> Tensor:
    """Weights whose scores are larger the nearer a class's mean is: `m` and `-|m|^2 / 2`."""
    counts = moments[-1]
    seen = counts > 0
    means = torch.where(seen, moments[:-1] / torch.where(seen, counts, 1.0), 0.0)
    return torch.cat([means, torch.where(seen, -means.square().sum(0) / 2, _UNSEEN)[None]])


@final
@dataclass(frozen=True)
class ClosedForm:
    """A factory of frozen modules whose last layer is computed, see `ridge` and `class_means`."""

    base: Base
    head: str
    strength: float | None = None

    def __post_init__(self) -> None:
        checks.one_of(HEADS, head=self.head)
        if self.head == "ridge":
            checks.positive(strength=self.strength)  # type: ignore[arg-type]
        check_base(self.base)

    def __call__(self) -> nn.Module:
        """A new module; raises `ValueError` if its last layer cannot be computed."""
        module = plain_module(self.base).requires_grad_(False).eval()
        name, last = _last(module)
        ridge = self.strength if self.head == "ridge" else None
        made = ComputedLayer(last.in_features, last.out_features, ridge)
        if not name:
            return made
        module.set_submodule(name, made)
        # The rest stays as it is: norms use their statistics, and nothing is dropped.
        module.training = True
        return module

    def merge(self, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
        """Convert a trained model's tensors to the plain model's, whose last layer has the computed weights.

        Args:
            tensors: of torch or numpy, by name: the contents of a run's `model.safetensors`.

        Returns:
            Tensors for the plain module's `load_state_dict(strict=True)`.

        Raises:
            ValueError: the tensors do not belong to this model.
        """
        module, plain = self(), plain_module(self.base)
        load(module, tensors, f"with head={self.head!r}")
        name, _ = _last(plain)
        made = module.get_submodule(name)
        assert isinstance(made, ComputedLayer)
        *weight, offset = made.solved().float()
        front = f"{name}." if name else ""
        own = {f"{front}weight": torch.stack(weight).T.contiguous(), f"{front}bias": offset}
        state = {**module.state_dict(), **own}
        return {each: state[each].detach().clone() for each in plain.state_dict()}


@checks.arguments
def ridge(model: Base, strength: float = RIDGE) -> Task:
    """Ridge regression on a frozen model's features, in one round: Fed3R (arXiv:2402.17478).

    The last layer's weights are `(A + strength n I)^-1 B`, where `A` is the sum of `x x'` over all `n`
    samples and `B` that of `x y'` (Fani et al. 2024, section 3): those of all clients' samples together,
    however they are split. `x` is what goes into the last layer, and a 1. Clients train with one step on
    all samples: `LocalTraining(learning_rate=1.0, batch_size=0)`.

    Args:
        model: makes the module, or is a module, which is copied; its last layer is linear, with an offset.
        strength: of the penalty, for each sample.

    Returns:
        A task; its `model.merge` turns a trained model into a plain one.

    Raises:
        ValueError: an argument is out of range; or, when the model is made, its last layer is another.

    >>> task = ridge(lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)))
    >>> [(name, p.numel()) for name, p in task.model().named_parameters() if p.requires_grad]
    [('2.moments', 30), ('2.gram', 55)]
    """
    return one_shot_task("classification", ClosedForm(model, "ridge", strength))


@checks.arguments
def class_means(model: Base) -> Task:
    """The nearest mean of a class's features, in one round: FedNCM, Legate et al. 2023 (arXiv:2306.03937).

    As `ridge`, but only the sums of each class's features and its samples are sent, and a sample belongs to
    the class whose mean is nearest to its features.

    >>> task = class_means(lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 3)))
    >>> [(name, p.numel()) for name, p in task.model().named_parameters() if p.requires_grad]
    [('2.moments', 30)]
    """
    return one_shot_task("classification", ClosedForm(model, "class_means"))


def _last(module: nn.Module) -> tuple[str, nn.Linear]:
    """The last layer in the order of definition, and its name; `ValueError` if it is not linear."""
    layers = [(name, m) for name, m in module.named_modules() if not any(True for _ in m.children())]
    name, last = layers[-1]
    if type(last) is nn.Linear and last.bias is not None:
        return name, last
    what = "has no offset" if isinstance(last, nn.Linear) else f"is a {type(last).__name__}"
    raise ValueError(
        f"the model's last layer {name!r} {what}; to be computed, it must be a linear layer with an offset,"
        " whose outputs are the model's"
    )
