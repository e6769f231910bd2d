"""Gateways other than OpenFaaS: Knative behind its ingress, CloudEvents, and paths of one's own."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import StartHopwise
from origin import Origin
from support.api import assert_error
from support.hopwise import Config, Hopwise, single_node
from support.ingress import Ingress, free_address
from support.process import Process
from support.wait import accepts, eventually, free_port
from support.wire import Response

DOMAIN = "{name}.{namespace}.example.com"
KNATIVE = [{"host": DOMAIN, "path": "/", "platform": "knative"}]
HTTP = {"path": "/", "platform": "http"}
EVENTS = Path(__file__).resolve().parent / "functions" / "events.py"


def count(node: Hopwise, function: str) -> int:
    """Invocations that were counted, whatever came of them."""
    text = node.call("GET", "/metrics", admin=True).body.decode()
    found = re.findall(
        rf'^gateway_function_invocation_total\{{.*function_name="{re.escape(function)}".*\}} (\d+)',
        text,
        re.MULTILINE,
    )
    return sum(int(value) for value in found)


def answered_by(response: Response) -> str:
    assert response.status == 200, response
    return str(json.loads(response.body)["node"])


class Knative:
    """Two nodes, each hopwise before an Envoy before services; `far` is not at edge1."""

    def __init__(self, directory: Path) -> None:
        self.services = {id: Origin(name=id) for id in ("edge1", "edge2")}
        hosts = {"edge1": "127.0.0.2", "edge2": "127.0.0.3"}
        addresses = {id: free_address(host) for id, host in hosts.items()}
        gateways = {id: free_address(host) for id, host in hosts.items()}
        names = {"edge1": ["near"], "edge2": ["near", "far"]}
        self.ingresses = [
            Ingress(
                directory,
                *gateways[id],
                {f"{name}.default.example.com": self.services[id].address for name in names[id]},
            )
            for id in hosts
        ]
        topology = [
            {
                "id": id,
                "role": "edge-controller",
                "zone": "a",
                "address": hosts[id],
                "port": addresses[id][1],
                "gateway_port": gateways[id][1],
            }
            for id in hosts
        ]
        self.nodes = {
            id: Hopwise(self.config(id, topology, addresses[id], gateways[id]), directory, name=id)
            for id in hosts
        }

    @staticmethod
    def config(
        id: str, topology: list[Any], data: tuple[str, int], gateway: tuple[str, int]
    ) -> Config:
        return {
            "architecture": "decentralized",
            "node": {"id": id},
            "topology": topology,
            "listen": {
                "data": f"{data[0]}:{data[1]}",
                "admin": f"{data[0]}:{free_port(data[0])}",
            },
            "gateway": f"{gateway[0]}:{gateway[1]}",
            "routes": KNATIVE,
        }

    def stop(self) -> None:
        for one in (*self.nodes.values(), *self.ingresses, *self.services.values()):
            one.stop()


@pytest.fixture(scope="module")
def knative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Knative]:
    started = Knative(tmp_path_factory.mktemp("knative"))
    yield started
    started.stop()


def call(node: Hopwise, host: str, *headers: str, path: str = "/") -> Response:
    return node.call("POST", path, *headers, body=b"x", host=host)


def test_a_knative_service_is_called_by_its_host(knative: Knative) -> None:
    edge1 = knative.nodes["edge1"]
    before = count(edge1, "near.default")
    response = call(edge1, "NEAR.default.example.com", path="/load/../entry?a=1")
    assert response.status == 200
    asked = json.loads(response.body)
    assert asked["target"] == "/load/../entry?a=1", "all of the path is the service's own"
    assert dict(asked["headers"])["host"] == "NEAR.default.example.com"
    assert count(edge1, "near.default") == before + 1


def test_a_service_that_is_not_here_is_learned_and_called_where_it_is(knative: Knative) -> None:
    edge1, edge2 = knative.nodes["edge1"], knative.nodes["edge2"]
    before = count(edge1, "far.default")
    for _ in range(5):
        assert answered_by(call(edge1, "far.default.example.com")) == "edge2"
    assert count(edge1, "far.default") == before + 5
    # By the first 404 it is known that it is not there, so that this node is not asked again.
    text = edge1.call("GET", "/metrics", admin=True).body.decode()
    absent = re.search(
        r'^hopwise_node_outcomes_total\{node="edge1",outcome="absent"\} (\d+)', text, re.MULTILINE
    )
    assert absent is not None and int(absent[1]) == 1, text
    assert answered_by(call(edge2, "far.default.example.com")) == "edge2"


def test_entry_calls_a_service_at_its_host(knative: Knative) -> None:
    edge1 = knative.nodes["edge1"]
    document = edge1.json("POST", "/entry", {"fn_name": "far.default", "payload": "x"})
    assert document["target_node"] == "edge2"
    asked = json.loads(document["resp"])
    assert (asked["target"], asked["body"]) == ("/", "x")
    assert dict(asked["headers"])["host"] == "far.default.example.com"
    refused = edge1.call("POST", "/entry", body=b'{"fn_name": "plain", "payload": ""}')
    assert assert_error(refused, 404)["error"] == "no_route"


@pytest.mark.parametrize(
    "probe",
    [
        "User-Agent: kube-probe/1.31",
        "User-Agent: Knative-Ingress-Probe",
        "User-Agent: Knative-Activator-Probe",
        "K-Network-Probe: probe",
        "K-Kubelet-Probe: queue",
        "K-Ignore-Metrics: true",
    ],
)
def test_probes_pass_and_are_no_invocations(knative: Knative, probe: str) -> None:
    edge1 = knative.nodes["edge1"]
    before = count(edge1, "near.default")
    response = call(edge1, "near.default.example.com", probe)
    name, _, value = probe.partition(": ")
    assert dict(json.loads(response.body)["headers"])[name.lower()] == value
    assert count(edge1, "near.default") == before
    # It is asked of the node it was sent to, and of no other.
    assert call(edge1, "far.default.example.com", probe).status == 404


def test_other_hosts_and_our_own_paths_stay_what_they_are(knative: Knative) -> None:
    edge1 = knative.nodes["edge1"]
    assert call(edge1, "api.example.com").status == 404, "Envoy's"
    load = edge1.fetch(edge1.data, "GET", "/load", host="localhost", source="127.0.0.1")
    assert "in_flight" in load.body.decode()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A function of CloudEvents in Google's functions-framework."""
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("functions-framework")),
        *("--source", str(EVENTS), "--target", "main", "--signature-type", "cloudevent"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    process = Process("events", command, tmp_path_factory.mktemp("events"))
    eventually(lambda: accepts("127.0.0.1", port), "the function listens", 30)
    yield "127.0.0.1", port
    process.stop()


EVENT = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "org.example.order"}


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_cloud_events_reach_a_function_at_the_root(
    start_hopwise: StartHopwise, events: tuple[str, int], mode: str
) -> None:
    node = start_hopwise(single_node(events, routes=[{**HTTP, "function": "orders"}]))
    if mode == "binary":
        headers = [f"ce-{name}: {value}" for name, value in EVENT.items()]
        headers, body = [*headers, "Content-Type: application/json"], b'{"n": 1}'
    else:
        headers = ["Content-Type: application/cloudevents+json"]
        body = json.dumps({**EVENT, "data": {"n": 1}}).encode()
    response = node.call("POST", "/", *headers, body=body)
    assert (response.status, response.body) == (200, b"OK")
    # The framework answers 415 to what is no event, and that is the function's answer.
    assert node.call("POST", "/", body=b"no event").status == 415
    assert count(node, "orders") == 2
    probe = node.call("GET", "/", "User-Agent: kube-probe/1.31")
    assert probe.status == node.fetch(events, "GET", "/").status
    assert count(node, "orders") == 2


def test_functions_stand_anywhere_in_a_path(start_hopwise: StartHopwise, origin: Origin) -> None:
    routes = [
        {"path": "/v1/{function}/run", "platform": "http"},
        {"path": "/queue/{function}", "asynchronous": True, "platform": "http"},
        {**HTTP, "function": "rest"},
    ]
    node = start_hopwise(single_node(origin.address, routes=routes))
    for path, function in [
        ("/v1/echo/run", "echo"),
        ("/v1/echo/run/more?x=1", "echo"),
        ("/v1/echo/other", "rest"),
        ("/function/echo", "rest"),
        ("/queue/later", "later"),
    ]:
        before = count(node, function)
        response = node.call("POST", path, body=b"x")
        assert json.loads(response.body)["target"] == path
        assert count(node, function) == before + 1, path
    document = node.json("POST", "/entry", {"fn_name": "echo", "payload": "x"})
    assert json.loads(document["resp"])["target"] == "/v1/echo/run"
    assert_error(node.call("POST", "/v1/echo/run/../../x"), 400)
    assert_error(node.call("POST", "/v1/a%20b/run"), 400)


def test_routes_change_without_restart(start_hopwise: StartHopwise, origin: Origin) -> None:
    node = start_hopwise(single_node(origin.address))
    assert node.call("POST", "/v2/echo", body=b"x").status == 200
    assert count(node, "echo") == 0, "passed on"
    config = single_node(origin.address, routes=[{"path": "/v2/{function}"}])
    node.write({**node.config, "routes": config["routes"]})
    node.json("POST", "/reload", admin=True)
    assert node.call("POST", "/v2/echo", body=b"x").status == 200
    assert count(node, "echo") == 1
    node.write({**node.config, "routes": [{"path": "/{function}x"}]})
    refused = node.call("POST", "/reload", admin=True)
    assert "routes[0].path" in assert_error(refused, 422, 400)["message"]
    node.call("POST", "/v2/echo", body=b"x")
    assert count(node, "echo") == 2, "the routes of before hold"
