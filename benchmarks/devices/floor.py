"""What a device's libraries take without Hedgerow: each is loaded, then both graphs train and evaluate.

`run.py` starts it in the environment of the device. It prints each stage's memory and processor time.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = {
    "numpy": ("numpy", "numpy.random"),
    "ONNX Runtime": ("onnxruntime",),
    "TLS, and cryptography": (
        "ssl", "http.client", "cryptography.hazmat.primitives.serialization",
        "cryptography.hazmat.primitives.asymmetric.ed25519", "cryptography.hazmat.primitives.ciphers.aead",
        "cryptography.hazmat.primitives.kdf.hkdf",
    ),
    "protobuf and safetensors": ("google.protobuf.descriptor_pb2", "safetensors.numpy"),
}  # fmt: skip
"""By stage, what a device imports of others."""

DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}
SAMPLES, STEPS = 320, 20


def memory(pid: int | str, kind: str) -> float:
    """MiB of a process; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) / 1024


def loaded(folder: Path, name: str) -> Any:
    """A graph, loaded as `hedgerow.client.onnx.session` does, with arrays for all that it takes and gives."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    content = (folder / f"{name}.onnx").read_bytes()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    binding, arrays = session.io_binding(), {}
    for bind, ports in (
        (binding.bind_input, session.get_inputs()), (binding.bind_output, session.get_outputs())
    ):  # fmt: skip
        for port in ports:
            array = arrays[port.name] = np.zeros(port.shape, DTYPES[port.type])
            bind(port.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return session, binding, arrays


def main() -> None:
    """Each stage, and what the process takes after it."""
    found: dict[str, dict[str, float]] = {}

    def tell(stage: str) -> None:
        kinds = {f"{kind.lower()}_mib": round(memory("self", kind), 2) for kind in ("Pss", "Private_Dirty")}
        found[stage] = {**kinds, "cpu_seconds": round(time.process_time(), 3)}

    folder = Path(sys.argv[1]) / "cnn-small"
    tell("Python")
    for stage, names in LIBRARIES.items():
        for name in names:
            import_module(name)
        tell(stage)
    import numpy as np

    graphs = [loaded(folder, name) for name in ("train", "evaluate")]
    tell("both graphs loaded")
    random, parameters = np.random.default_rng(0), np.load(folder / "parameters.npy")
    rows = graphs[0][2]["x"].shape
    x = random.normal(size=(SAMPLES, *rows[1:])).astype(np.float32)
    for step in range(STEPS):
        for session, binding, arrays in graphs:
            arrays["x"][...] = x[step * rows[0] % SAMPLES :][: rows[0]]
            arrays["mask"][...], arrays["parameters"][...] = True, parameters
            session.run_with_iobinding(binding)
    tell("steps and evaluation")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
