"""What graphs are held to before ONNX Runtime sees a byte of them.

A graph that passes uses only operators of the list, takes nothing from other files, takes and gives what its
manifest says, and its memory is bounded: every shape in it is known beforehand.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hedgerow.graphs.bundle import Graphs
from hedgerow.graphs.errors import BadGraphs
from hedgerow.graphs.protobuf import Bytes, collect, fields
from hedgerow.graphs.walk import Walk

LARGEST = 4 * 2**20
"""Bytes of a graph. It holds no values of a model, so real ones have some hundred kilobytes at most."""

OPSET, IR_VERSION = 20, 9
"""Of each other; ONNX Runtime reads them since 1.17."""

EMBEDDED = "hedgerow.manifest"
"""Under this key a graph holds its own manifest, without its hash."""


def inspect(graphs: Graphs, most: int) -> int:
    """Refuse graphs that are not what they must be; the bytes that a run of one takes at most.

    Args:
        graphs: with their manifest.
        most: bytes that a run may take.

    Raises:
        BadGraphs: naming the graph, and what it is refused for.
    """
    needed = 0
    for name, content in graphs.files.items():
        try:
            needed = max(needed, _inspected(content, graphs.manifest["graphs"][name], most))
        except BadGraphs as error:
            raise BadGraphs(f"{name}: {error}") from None
    return needed


def graph_of(content: bytes) -> tuple[Bytes, Bytes]:
    """The graph in a model's file, and the manifest that the file itself holds.

    Raises:
        BadGraphs: the file is too large, or is none that `hedgerow export` writes.
    """
    if len(content) > LARGEST:
        raise BadGraphs(f"it has {len(content):,} bytes; at most {LARGEST:,} are taken")
    graph, described, versions = memoryview(b""), memoryview(b""), set[str]()
    for name, value in fields("ModelProto", memoryview(content)):
        if name == "metadata_props":
            entry = collect("StringStringEntryProto", value)
            if bytes(entry.get("key", b"")) != EMBEDDED.encode() or described:
                raise BadGraphs("it has metadata other than its manifest")
            described = entry.get("value", described)
        elif name == "graph":
            graph = value
        elif name in _VERSIONS:
            _VERSIONS[name](value)
            versions.add(name)
    if versions != set(_VERSIONS):
        raise BadGraphs("it does not say which version of ONNX it is of")
    return graph, described


def _inspected(content: bytes, manifest: Mapping[str, Any], most: int) -> int:
    graph, described = graph_of(content)
    own = {key: value for key, value in manifest.items() if key != "sha256"}
    if described != json.dumps(own).encode() or own.get("opset") != OPSET:
        raise BadGraphs("the manifest is not the one that the graph itself holds")
    walk = Walk(graph, most)
    for way, found in (("inputs", walk.inputs), ("outputs", walk.outputs)):
        given = [{"name": n, "shape": list(v.shape), "dtype": v.dtype} for n, v in found.items()]
        if _listed(own, way) != given:
            raise BadGraphs(f"its {way} are not those of the manifest")
    return walk.needed


def _check_ir(version: int) -> None:
    if version != IR_VERSION:
        raise BadGraphs(f"its IR version is {version}; it must be {IR_VERSION}")


def _check_opset(data: Bytes) -> None:
    given = collect("OperatorSetIdProto", data)
    if len(given.get("domain", b"")) or given.get("version") != OPSET:
        raise BadGraphs(f"it needs other operators than those of ONNX's version {OPSET}")


_VERSIONS: dict[str, Callable[[Any], None]] = {"ir_version": _check_ir, "opset_import": _check_opset}


def _listed(manifest: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Names, shapes and dtypes of a manifest's inputs or outputs."""
    found = manifest.get(key)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BadGraphs(f"the manifest has no list of {key}")
    return [{key: each.get(key) for key in ("name", "shape", "dtype")} for each in found]
