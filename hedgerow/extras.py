"""Which extra of the package provides a module that is not installed.

pip install hedgerow                 a device that joins a federation with a plug-in trainer
pip install "hedgerow[torch]"        adds the torch trainer
pip install "hedgerow[server]"       adds the configuration and Flower
pip install "hedgerow[simulation]"   all of the above
"""

from importlib.util import find_spec

_EXTRA_OF = {
    "torch": "torch",
    "flwr": "server", "pydantic": "server", "pooch": "server", "PIL": "server",
    "h11": "server", "httpx": "server", "prometheus_client": "server",
    "opentelemetry": "telemetry",
    "onnx": "export", "onnxruntime": "onnx",
    "cloudpickle": "simulation",
    "matplotlib": "report", "pyarrow": "parquet", "optuna": "optuna",
}  # fmt: skip


def require(module: str) -> None:
    """Raise `ModuleNotFoundError` if a module is not installed, without importing it.

    >>> require("numpy")
    """
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def remedy(error: ImportError) -> str:
    """What to install after a failed import; empty if no extra provides the module.

    >>> remedy(ModuleNotFoundError("No module named 'torch'", name="torch"))
    'torch is not installed; install it with: pip install "hedgerow[torch]"'
    """
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(module)
    if extra is None:
        return ""
    also = ', or "hedgerow[simulation]" to simulate devices here too' if extra == "server" else ""
    return f'{module} is not installed; install it with: pip install "hedgerow[{extra}]"{also}'
