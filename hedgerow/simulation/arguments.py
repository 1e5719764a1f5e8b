"""Checks of a grid's arguments."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from types import NoneType
from typing import Any

from hedgerow import checks
from hedgerow.simulation.limits import check_memory_limit
from hedgerow.simulation.ray.cluster import RayCluster
from hedgerow.wording import shown


def check_grid(
    client_app: Any, num_clients: int, run_config: Any, node_config: Any, names: Any, states: Any
) -> None:
    """Raise `ValueError` if an argument has the wrong type, or the number of names is wrong."""
    checks.kind(Callable, " of a Message and a Context, such as a ClientApp", client_app=client_app)
    checks.whole(1, num_clients=num_clients)
    checks.kind((Mapping, NoneType), ", such as {'lr': 0.1}", run_config=run_config)
    checks.kind((Callable, NoneType), " of a client's number", node_config=node_config)
    checks.kind((MutableMapping, NoneType), ", by node id", states=states)
    if names is None or callable(names):  # str too
        return
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(
            f"names is {shown(names)}; it must be a list of strings, or a function of a client's number"
        )
    if len(names) != num_clients:
        raise ValueError(f"there are {len(names)} names for {num_clients} clients; each needs one")


def check_workers(
    workers: int | None,
    client_timeout: float | None,
    memory_limit: int | None,
    start_method: str | None,
    cluster: RayCluster | None,
) -> None:
    """Raise `ValueError` if an argument of the workers has the wrong type, or two do not fit together."""
    if workers is not None:
        checks.whole(1, workers=workers)
    if client_timeout is not None:
        checks.positive(client_timeout=client_timeout)
    check_memory_limit(memory_limit)
    if start_method is not None:
        checks.one_of(["fork", "spawn"], start_method=start_method)
    checks.kind((RayCluster, NoneType), cluster=cluster)
    if cluster is not None and memory_limit is not None:
        raise ValueError("memory_limit is for workers of this machine; on a cluster, Ray limits memory")
