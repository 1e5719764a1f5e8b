"""A graph in ONNX Runtime, on arrays that stay where they are."""

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.signature import Port, Signature
from hedgerow.wording import first_line

Run = Callable[[], None]
"""Runs a graph once, from the arrays that it was bound to into others."""

_ALIGNED = 64
_FATAL = 4
"""ONNX Runtime then writes nothing: what it says is in the error, too."""


@final
class Session:
    """One graph, loaded.

    Args:
        content: of the file.
        signature: what it must take and give.
        threads: that one operator may use.

    Raises:
        BadGraphs: ONNX Runtime cannot load it, or it takes or gives something else.
    """

    def __init__(self, content: bytes, signature: Signature, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        options.enable_mem_pattern = False  # a block for a whole run, beside what its first run has taken
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no class in common
            raise BadGraphs(f"ONNX Runtime cannot load the graph: {first_line(error)}") from error
        for found, told in (
            (self._session.get_inputs(), signature.inputs),
            (self._session.get_outputs(), signature.outputs),
        ):
            if [(port.name, tuple(port.shape)) for port in found] != [(n, p.shape) for n, p in told.items()]:
                raise BadGraphs(
                    "the graph takes or gives other tensors than its manifest says: it has"
                    f" {', '.join(port.name for port in found)}; export it again"
                )

    def bind(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> Run:
        """A function that runs the graph on these arrays, without copying any.

        Args:
            inputs: by name; read anew at every run.
            outputs: by name; overwritten at every run.
        """
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        kept = inputs, outputs  # the binding has only their addresses

        def run(kept: Any = kept) -> None:
            self._session.run_with_iobinding(binding)

        return run


def zeros(port: Port) -> NDArray[Any]:
    """An array for what goes in or comes out, of zeros, as ONNX Runtime would place its own."""
    kind = np.dtype(port.dtype)
    size = int(np.prod(port.shape)) * kind.itemsize
    memory = np.zeros(size + _ALIGNED, np.uint8)
    start = -memory.ctypes.data % _ALIGNED
    return memory[start : start + size].view(kind).reshape(port.shape)
