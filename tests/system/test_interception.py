"""Traffic that never asked for hopwise: iptables REDIRECT in namespaces of our own."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from origin import Origin
from support.exchange import new_run
from support.hopwise import Config, Hopwise
from support.netns import TwoHosts
from support.wait import eventually
from support.wire import Response, fetch

GATEWAY_PORT = 31112
DATA_PORT = 31113
ADMIN_PORT = 31114
OTHER_PORT = 8080
MARK = 0x68


@dataclass
class Scene:
    hosts: TwoHosts
    hopwise: Hopwise
    gateway: Origin
    # HTTP servers that have nothing to do with the topology.
    other_on_node: Origin
    other_on_client: Origin

    def call(self, namespace: str, address: tuple[str, int], target: str, run: str) -> Response:
        return fetch(address, "POST", target, f"X-Run: {run}", body=b"b\0", namespace=namespace)


def config() -> Config:
    node = {
        "id": "edge1",
        "role": "worker",
        "zone": "edge-A",
        "address": TwoHosts.NODE,
        "port": DATA_PORT,
        "gateway_port": GATEWAY_PORT,
    }
    return {
        "architecture": "decentralized",
        "node": {"id": "edge1"},
        "topology": [node],
        "listen": {"data": f"0.0.0.0:{DATA_PORT}", "admin": f"127.0.0.1:{ADMIN_PORT}"},
        "gateway": f"127.0.0.1:{GATEWAY_PORT}",
        "workers": 2,
        "interception": {"enabled": True, "mark": MARK},
    }


def redirect(hosts: TwoHosts) -> None:
    """The rules the manual gives: for traffic from outside, and for traffic of this host."""
    rules = [("OUTPUT", "-m", "mark", "--mark", hex(MARK), "-j", "RETURN")]
    for port in (GATEWAY_PORT, OTHER_PORT):
        for chain in ("PREROUTING", "OUTPUT"):
            to = ("-j", "REDIRECT", "--to-ports", str(DATA_PORT))
            rules.append((chain, "-p", "tcp", "--dport", str(port), *to))
    for rule in rules:
        hosts.on_node("iptables", "-w", "-t", "nat", "-A", *rule)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    for tool in ("ip", "iptables"):
        assert shutil.which(tool), f"{tool} is missing: tests/run installs it"
    directory: Path = tmp_path_factory.mktemp("interception")
    with TwoHosts() as hosts:
        gateway = Origin("0.0.0.0", GATEWAY_PORT, "gateway", namespace=hosts.node)
        other_on_node = Origin("0.0.0.0", OTHER_PORT, "other-on-node", namespace=hosts.node)
        other_on_client = Origin("0.0.0.0", OTHER_PORT, "other-on-client", namespace=hosts.client)
        hopwise = Hopwise(config(), directory, namespace=hosts.node)
        try:
            redirect(hosts)
            yield Scene(hosts, hopwise, gateway, other_on_node, other_on_client)
        finally:
            hopwise.stop()
            for origin in (gateway, other_on_node, other_on_client):
                origin.stop()


def assert_went_through_hopwise(origin: Origin, run: str, client: str) -> None:
    received = origin.seen(run)
    assert received.body == b"b\0"
    assert received.value("x-forwarded-for") == client


def test_calls_from_outside_reach_the_gateway_through_hopwise(scene: Scene) -> None:
    for target in ("/function/echo?a=b", "/system/functions"):
        run = new_run()
        address = (TwoHosts.NODE, GATEWAY_PORT)
        response = scene.call(scene.hosts.client, address, target, run)
        assert response.status == 200
        assert scene.gateway.seen(run).target == target
        assert_went_through_hopwise(scene.gateway, run, TwoHosts.CLIENT)


@pytest.mark.parametrize("host", ["127.0.0.1", TwoHosts.NODE])
def test_calls_on_the_node_reach_the_gateway_through_hopwise(host: str, scene: Scene) -> None:
    """Without the mark hopwise's own call would be redirected to itself, round and round."""
    run = new_run()
    address = (host, GATEWAY_PORT)
    response = scene.call(scene.hosts.node, address, "/function/echo", run)
    assert response.status == 200
    assert_went_through_hopwise(scene.gateway, run, host)


def test_other_servers_get_what_was_meant_for_them(scene: Scene) -> None:
    calls = [
        (scene.hosts.client, TwoHosts.NODE, scene.other_on_node),
        (scene.hosts.node, TwoHosts.CLIENT, scene.other_on_client),
    ]
    before = scene.hopwise.metrics()["hopwise_connections_accepted_total"]
    # What is a function call, or ours, at the gateway, is neither at another server.
    for target in ("/page?x=%2F", "/function/echo", "/function/..", "/load", "/entry"):
        for namespace, host, server in calls:
            run = new_run()
            response = scene.call(namespace, (host, OTHER_PORT), target, run)
            assert response.status == 200, (target, response.body)
            received = server.seen(run)
            assert (received.target, received.body) == (target, b"b\0")
            assert received.value("x-forwarded-for") is None, "its bytes are left alone"
    after = scene.hopwise.metrics()["hopwise_connections_accepted_total"]
    assert after - before >= 10, "they were redirected through hopwise"


def test_direct_connections_still_work(scene: Scene) -> None:
    run = new_run()
    address = (TwoHosts.NODE, DATA_PORT)
    response = scene.call(scene.hosts.client, address, "/function/echo", run)
    assert response.status == 200
    assert_went_through_hopwise(scene.gateway, run, TwoHosts.CLIENT)


def test_a_dead_destination_is_a_dead_connection_and_no_loop(scene: Scene) -> None:
    """The last test: it ends the other server."""
    scene.other_on_node.stop()
    address = (TwoHosts.NODE, OTHER_PORT)

    def refused() -> bool:
        try:
            scene.call(scene.hosts.client, address, "/page", new_run())
        except OSError:
            return True
        return False

    eventually(refused, "a connection that is refused upstream is closed")
