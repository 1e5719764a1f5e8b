"""Which extra of the package brings what is not installed.

pip install hedgerow                 a device: it joins a federation with a trainer that is a plug-in
pip install "hedgerow[torch]"        and the torch trainer
pip install "hedgerow[server]"       the configuration, and Flower
pip install "hedgerow[simulation]"   all of these
"""

from importlib.util import find_spec

_EXTRA_OF = {
    "torch": "torch",
    "flwr": "server", "pydantic": "server", "pooch": "server", "PIL": "server",
    "h11": "server", "httpx": "server", "prometheus_client": "server",
    "opentelemetry": "telemetry",
    "onnx": "export",
    "cloudpickle": "simulation",
    "matplotlib": "report", "plotly": "report", "pyarrow": "parquet",
}  # fmt: skip


def require(module: str) -> None:
    """Raise `ModuleNotFoundError` for what is not installed, before anything is begun; it is not imported.

    >>> require("numpy")
    """
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)


def remedy(error: ImportError) -> str:
    """What to install, for an error of what is not; empty where no extra has it.

    >>> remedy(ModuleNotFoundError("No module named 'torch'", name="torch"))
    'torch is not installed; install it with: pip install "hedgerow[torch]"'
    """
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(module)
    if extra is None:
        return ""
    also = ', or "hedgerow[simulation]" to simulate devices here too' if extra == "server" else ""
    return f'{module} is not installed; install it with: pip install "hedgerow[{extra}]"{also}'
