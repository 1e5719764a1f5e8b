"""A Ray cluster as a place for workers. Ray is imported when a run on it starts."""

import logging
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import NoneType
from typing import Any

from hedgerow import checks
from hedgerow.generators import undisturbed
from hedgerow.simulation.client_runner import Start
from hedgerow.simulation.clients import Clients
from hedgerow.simulation.ray.pool import Actors

_SECONDS_TO_CONNECT = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RayCluster:
    """Workers as actors on a Ray cluster.

    If this process is connected to Ray already, that connection is used and kept
    open; otherwise there is one for the duration of the grid's `with` block.

    Attributes:
        address: `"auto"` for a cluster that this machine belongs to,
            `"host:port"` of a cluster's head, or `"ray://host:port"` to connect from
            a machine outside it; `None` for the address in `RAY_ADDRESS` or, without
            it, a new local Ray instance.
        cpus: CPUs per actor; may be a fraction.
        gpus: GPUs per actor; may be a fraction, so that several share a GPU.

    Raises:
        ValueError: `cpus` is not above 0, or `gpus` is below 0.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        checks.kind((str, NoneType), ", such as 'auto'", address=self.address)
        checks.positive(cpus=self.cpus)
        checks.not_negative(gpus=self.gpus)

    @contextmanager
    def session(self, number: int | None) -> Iterator[int]:
        """Stay connected; yields the number of actors, as many as fit if `number` is `None`.

        Raises:
            ModuleNotFoundError: Ray is not installed.
            ConnectionError: there is no cluster at the address.
            ValueError: this process is connected to another cluster.
        """
        ray = _ray()
        if ray.is_initialized():
            self._refuse_another(ray)
            yield number or self._room(ray)
            return
        try:
            with undisturbed():  # Ray draws from `random`
                self._connect(ray, number)
            with _quiet():
                yield number or self._room(ray)
        finally:
            ray.shutdown()

    def pool(
        self,
        clients: Clients,
        start: Start | None,
        number: int,
        client_timeout: float | None,
        *,
        inbox: int = 0,
        outbox: int = 0,
    ) -> Actors:
        """Start actors."""
        return Actors(clients, start, number, client_timeout, {"num_cpus": self.cpus, "num_gpus": self.gpus})

    def _connect(self, ray: Any, number: int | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "CRITICAL"}
        if address == "local":
            cores = os.cpu_count() or 1
            options |= {"include_dashboard": False, "num_cpus": max(cores, round((number or 1) * self.cpus))}
        elif address != "auto":
            _answers(address)
        try:
            # Ray's warnings here are hints for its own developers.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(**options)
        except (ConnectionError, RuntimeError, OSError) as error:
            raise ConnectionError(
                f"there is no Ray cluster at {address}: {error}; start one with `ray start --head`,"
                " or give no address to start a local Ray on this machine"
            ) from None

    def _refuse_another(self, ray: Any) -> None:
        if self.address in (None, "auto") or str(self.address).startswith("ray://"):
            return
        connected = ray.get_runtime_context().gcs_address
        if self.address != connected:
            raise ValueError(
                f"the address is {self.address}, but this process is connected to Ray at {connected};"
                " call ray.shutdown() first, or give no address to use that connection"
            )

    def _room(self, ray: Any) -> int:
        there = ray.cluster_resources()
        room = there.get("CPU", 0) / self.cpus
        if self.gpus:
            room = min(room, there.get("GPU", 0) / self.gpus)
        return max(1, int(room))


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'ray is not installed; install it with: pip install "hedgerow[ray]"', name="ray"
        ) from None
    return ray


def _answers(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would keep trying for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"the address is {address!r}; it must be 'auto', 'host:port' or 'ray://host:port'")
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"there is no Ray cluster at {address}: {error}; start one with `ray start --head`, which"
            " prints its address, and check that this machine can reach it"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Log, rather than print, Ray's messages about processes and nodes that end: they are handled here."""
    module: Any = sys.modules["ray._private.worker"]
    printed = module.print_to_stdstream

    def log(data: Any, *args: Any, **kwargs: Any) -> None:
        for line in data["lines"]:
            _log.debug("Ray says: %s", line)

    module.print_to_stdstream = log
    try:
        yield
    finally:
        module.print_to_stdstream = printed
