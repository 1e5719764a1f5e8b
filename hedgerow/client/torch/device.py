"""Which device torch works on."""

import os

import torch

from hedgerow import checks
from hedgerow.wording import shown

CPU = torch.device("cpu")


def find_device(name: str | None) -> torch.device:
    """The device with this name; `None` is the CPU, and of a GPU the number is always told.

    Raises:
        ValueError: torch finds no such device; the error lists those that it finds.

    >>> find_device(None)
    device(type='cpu')
    """
    if name is None:
        return CPU
    checks.kind(str, ", such as 'cuda'", device=name)
    there = ["cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or not any(device == torch.device(d) or name == d.partition(":")[0] for d in there):
        listed = ", ".join(repr(d) for d in there)
        raise ValueError(
            f"device is {shown(name)}; torch finds {listed} here: take one of these, or leave device"
            " out. If there is a GPU that torch does not find, install torch with support for it"
            " (https://pytorch.org/get-started)"
        )
    if device.type == "cuda":
        # cuBLAS gives the same bits every time with this setting only, read when it is used first.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.cuda.init()  # type: ignore[no-untyped-call]  # its generators are seeded and restored from here on
        device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    return device


def best_device() -> str:
    """`"cuda"` if torch finds such a GPU, else `"cpu"`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
