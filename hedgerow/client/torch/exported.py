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
    """A `.pt2` file for `torch.export.load`: for any number of samples, in evaluation mode.

    Args:
        factory: makes the module.
        model: its values.
        shape: of one sample; samples are float32, or int64 if the module takes nothing else.
        beside: other text files to include, by name.

    Raises:
        ValueError: torch cannot export the module; the error has torch's reason.
    """
    module = factory()
    module.load_state_dict(module_with(factory, model).state_dict())  # each tensor with its own memory
    module.eval()
    with num_threads(1), torch.no_grad():
        x = _samples(module, shape)
        try:
            sizes = ({0: torch.export.Dim("samples")},)
            program = torch.export.export(module, (x,), dynamic_shapes=sizes)
        except Exception as error:  # torch does not document its error types
            first = str(error).strip().partition("\n")[0]
            raise ValueError(f"torch cannot export this model: {first}; write it as .safetensors") from error
        file = io.BytesIO()
        torch.export.save(program, file, extra_files=dict(beside))
    return file.getvalue()


def _samples(module: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """Samples that the module accepts: floats, or integers."""
    numbers = torch.zeros(_SAMPLES, *shape)
    try:
        module(numbers)
    except (RuntimeError, TypeError):
        return numbers.long()
    return numbers
