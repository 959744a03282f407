"""The Ray cluster of a run: one that exists, or one that is started on this machine and ends with the run.

Ray's own messages, its dashboard and its reports to its makers are switched off, unless the user's environment says
otherwise. Reference: https://docs.ray.io/en/latest/ray-core/api/doc/ray.init.html
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from benchmark.errors import UserError
from benchmark.launch.config import RayConfig
from benchmark.runtime.stopping import SIGNALS

PROBE_SECONDS = 2.0  # for a connection to the cluster's port; Ray itself waits for minutes
OBJECT_STORE = 100_000_000  # bytes; only lines of progress pass through it
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
EXTRA = "pip install -e '.[ray]'"


def import_ray() -> ModuleType:
    """Return the package; raises UserError if it is not installed."""
    for name, value in QUIET.items():  # some are read when it is imported
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(
            f"--launcher ray needs the package {error.name}, which is not installed; run: {EXTRA}"
        ) from None
    return ray


def connect(ray: Any, config: RayConfig) -> None:
    """Connect to the cluster of the settings, or start one here.

    Raises:
        UserError: if the address is not one, nobody answers there, a cluster is both named and to be started, or Ray
            refuses.
    """
    if config.address is not None and config.start:
        raise UserError(
            f"--launcher-config has an address, {config.address}, and resources to start a cluster with; remove one"
        )
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"configure_logging": False, "logging_level": logging.ERROR, "log_to_driver": False}
    if config.address is None:
        resources = dict(config.start)
        cpus, gpus = resources.pop("CPU", None), resources.pop("GPU", None)
        options |= {"address": "local", "num_cpus": _whole("CPU", cpus), "num_gpus": _whole("GPU", gpus)}
        options |= {"resources": resources, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    else:
        probe(config.address)
        options["address"] = config.address
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *SIGNALS)}
    try:
        ray.init(**options)
    except (OSError, RuntimeError, ValueError) as error:  # OSError: nobody answers; the others: versions, resources
        what = "start Ray on this machine" if config.address is None else f"use the Ray cluster at {config.address}"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"cannot {what}: {reason}; see `ray status`, and address in --launcher-config") from None
    finally:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)


def probe(address: str) -> None:
    """Raise UserError unless an address is well formed and its port answers; "auto" without RAY_ADDRESS is Ray's."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address == "auto":
        return
    match = re.fullmatch(r"\[?([\w.:-]+?)\]?:([0-9]{1,5})", address)
    if match is None or not 0 < int(match[2]) < 65536:
        raise UserError(
            f"address of a Ray cluster is auto or host:port, such as 10.0.0.1:6379; got {address!r}; start the run "
            "on a machine of the cluster"
        )
    try:
        socket.create_connection((match[1], int(match[2])), timeout=PROBE_SECONDS).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        raise UserError(
            f"no Ray cluster answers at {address} ({reason}); start one with `ray start --head`, or correct address in "
            "--launcher-config"
        ) from None


def has_gpus(ray: Any) -> bool:
    """Return whether a node of the cluster has GPUs now."""
    return any(resources.get("GPU", 0) > 0 for resources in _nodes(ray))


def fits(ray: Any, needed: Mapping[str, float]) -> bool:
    """Return whether a node of the cluster has at least these resources, whoever uses them now."""
    return any(all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in _nodes(ray))


def _nodes(ray: Any) -> Iterable[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _whole(name: str, amount: float | None) -> int | None:
    if amount is None:
        return None
    if amount < 0 or amount != int(amount):
        raise UserError(f"start: {name} in --launcher-config takes a whole number from 0; got {amount}")
    return int(amount)
