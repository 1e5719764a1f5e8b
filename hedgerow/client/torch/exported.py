"""A model as a program that runs without its Python code: `torch.export`."""

import io
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from hedgerow.client.torch.module import module_with
from hedgerow.client.torch.settings import num_threads
from hedgerow.types import Model

_SAMPLES = 3


def exported(
    factory: Callable[[], nn.Module], model: Model, shape: tuple[int, ...], beside: Mapping[str, str]
) -> bytes:
    """A `.pt2` file, which `torch.export.load` takes: for any number of samples, in evaluation mode.

    Args:
        factory: makes the module.
        model: its values.
        shape: of one sample; samples are float32, or int64 where the module takes no others.
        beside: texts by name that lie in the file too.

    Raises:
        ValueError: torch cannot export the module; with what it says.
    """
    module = factory()
    module.load_state_dict(module_with(factory, model).state_dict())  # each tensor with memory of its own
    module.eval()
    with num_threads(1), torch.no_grad():
        x = _samples(module, shape)
        try:
            sizes = ({0: torch.export.Dim("samples")},)
            program = torch.export.export(module, (x,), dynamic_shapes=sizes)
        except Exception as error:  # of torch's own kinds, which it does not name
            first = str(error).strip().partition("\n")[0]
            raise ValueError(f"torch cannot export this model: {first}; write it as .safetensors") from error
        file = io.BytesIO()
        torch.export.save(program, file, extra_files=dict(beside))
    return file.getvalue()


def _samples(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Some that the module takes: numbers, or characters."""
    numbers = torch.zeros(_SAMPLES, *shape)
    try:
        module(numbers)
    except (RuntimeError, TypeError):
        return numbers.long()
    return numbers
