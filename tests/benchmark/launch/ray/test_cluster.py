"""Connecting to a Ray cluster: wrong addresses are one sentence at once, and Ray's own habits are switched off."""

from __future__ import annotations

import signal
import socket
import sys
from types import SimpleNamespace

import pytest

from benchmark.errors import UserError
from benchmark.launch.config import RayConfig
from benchmark.launch.ray.cluster import connect, fits, has_gpus, import_ray, probe


@pytest.mark.parametrize("address", ["ray://host:1", "host", "host:", "host:0", "host:99999", "a b:1", ""])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="host:port"):
        probe(address)


def test_a_port_that_nobody_listens_on_is_refused_at_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        probe(address)
    with pytest.raises(UserError, match=f"no Ray cluster answers at {address}"):
        connect(None, RayConfig(address=address))
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=address):
        probe("auto")
    monkeypatch.delenv("RAY_ADDRESS")
    probe("auto")


def test_a_cluster_of_this_machine_is_started_without_dashboard_and_handlers_of_signals_stay():
    given, before = {}, signal.getsignal(signal.SIGTERM)

    def init(**options):
        given.update(options)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    connect(SimpleNamespace(init=init), RayConfig(start={"CPU": 3, "disk": 1.5}))

    assert signal.getsignal(signal.SIGTERM) == before
    assert given["address"] == "local" and given["include_dashboard"] is False
    assert (given["num_cpus"], given["num_gpus"], given["resources"]) == (3, None, {"disk": 1.5})


def test_a_cluster_is_named_or_started_but_not_both():
    with pytest.raises(UserError, match="has an address, auto, and resources to start a cluster with; remove one"):
        connect(None, RayConfig(address="auto", start={"CPU": 2}))


def test_what_ray_refuses_is_one_sentence():
    def init(**_):
        raise RuntimeError("Version mismatch: 1 and 2.\nmore")

    with pytest.raises(UserError, match=r"cannot use the Ray cluster at auto: Version mismatch: 1 and 2; see"):
        connect(SimpleNamespace(init=init), RayConfig(address="auto"))
    with pytest.raises(UserError, match="whole number"):
        connect(SimpleNamespace(init=init), RayConfig(start={"CPU": 1.5}))


def test_without_ray_the_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")

    with pytest.raises(UserError, match=r"pip install -e '\.\[ray\]'"):
        import_ray()


def test_resources_are_those_of_one_living_node():
    nodes = [{"CPU": 2.0}, {"GPU": 1.0, "CPU": 1.0}]
    ray = SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": node} for node in nodes])

    assert has_gpus(ray) and fits(ray, {"CPU": 2}) and not fits(ray, {"CPU": 2, "GPU": 1})
