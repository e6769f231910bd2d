"""More than there is room for: who is refused, how, and who still gets in."""

import contextlib
import json
import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from conftest import StartHopwise
from origin import Origin, Received, read_body
from support.exchange import new_run
from support.hopwise import CLIENT, Hopwise, single_node
from support.wait import eventually
from support.wire import Response, Wire, connect, request

ECHO = "/function/echo"
OTHER_CLIENT = "127.0.0.98"


@contextlib.contextmanager
def held(
    hopwise: Hopwise, count: int, source: str = CLIENT, served: bool = False
) -> Iterator[list[Wire]]:
    """Connections that do nothing, or nothing more after a request."""
    with ExitStack() as stack:
        wires = []
        for _ in range(count):
            wire = stack.enter_context(connect(hopwise.data, source))
            if served:
                wire.send(request("GET", ECHO))
                assert wire.response().status == 200
            wires.append(wire)
        yield wires


def assert_refused(response: Response, error: str) -> None:
    assert (response.status, response.value("hopwise-refusal")) == (503, error)
    assert int(response.value("retry-after") or 0) >= 1
    document = json.loads(response.body)
    assert document["error"] == error and document["message"]


def refused_for(hopwise: Hopwise, reason: str) -> int:
    return int(hopwise.metrics()[f'hopwise_refusals_total{{reason="{reason}"}}'])


def connections(hopwise: Hopwise) -> int:
    # The one that asks is not meant.
    return int(hopwise.metrics()["hopwise_connections"]) - 1


def start_small(origin: Origin, start_hopwise: StartHopwise, **limits: object) -> Hopwise:
    return start_hopwise(single_node(origin.address, limits=limits))


def test_a_connection_too_many_is_told_and_peers_and_operators_get_in(
    origin: Origin, start_hopwise: StartHopwise
) -> None:
    hopwise = start_small(origin, start_hopwise, connections=8, client_share=1)
    with held(hopwise, 8):
        eventually(lambda: connections(hopwise) == 8, "all places are taken")
        # Young connections are not closed to make room, so this one finds none.
        with connect(hopwise.data, OTHER_CLIENT) as wire:
            wire.send(request("POST", ECHO, body=b"x" * 3000))
            assert_refused(wire.response("POST"), "too_many_connections")
            assert wire.is_closed_by_peer()
        # The node's own address is one of the topology's.
        with connect(hopwise.data, hopwise.data[0]) as peer:
            peer.send(request("GET", ECHO))
            assert peer.response().status == 200
        assert hopwise.json("GET", "/configuration", admin=True)["limits"]["connections"] == 8
    assert refused_for(hopwise, "connections") == 1


def test_those_that_are_idle_make_room(origin: Origin, start_hopwise: StartHopwise) -> None:
    hopwise = start_small(origin, start_hopwise, connections=16, client_share=1)
    with held(hopwise, 16, served=True):

        def gets_in() -> bool:
            with connect(hopwise.data, OTHER_CLIENT) as wire:
                wire.send(request("GET", ECHO))
                return wire.response().status == 200

        eventually(gets_in, "an idle one has made room")
    assert hopwise.metrics()['hopwise_timeouts_total{reason="crowded"}'] >= 1


def test_one_client_leaves_connections_for_others(
    origin: Origin, start_hopwise: StartHopwise
) -> None:
    hopwise = start_small(origin, start_hopwise, connections=16)
    with held(hopwise, 8):
        eventually(lambda: connections(hopwise) == 8, "it has its share")
        with connect(hopwise.data, CLIENT) as wire:
            wire.send(request("GET", ECHO))
            assert_refused(wire.response(), "too_many_connections")
        with connect(hopwise.data, OTHER_CLIENT) as wire:
            wire.send(request("GET", ECHO))
            assert wire.response().status == 200
    assert refused_for(hopwise, "client_connections") == 1
    eventually(lambda: connections(hopwise) == 0, "places are free again")


class Held:
    """Requests that the gateway answers when it is told to."""

    def __init__(self, origin: Origin, hopwise: Hopwise) -> None:
        self.origin, self.hopwise = origin, hopwise
        self.go = threading.Event()
        self.wires: list[Wire] = []

    def call(self, source: str) -> None:
        run = new_run()

        def wait(wire: Wire, received: Received) -> bool:
            read_body(wire, received)
            self.go.wait(20)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return True

        self.origin.scripts[run] = wait
        self.wires.append(connect(self.hopwise.data, source))
        self.wires[-1].send(request("GET", ECHO, f"X-Run: {run}"))
        eventually(lambda: run in self.origin.by_run, "it runs")

    def end(self) -> None:
        self.go.set()
        for wire in self.wires:
            assert wire.response().status == 200
            wire.close()


@pytest.mark.parametrize("target", [ECHO, "/system/functions", "/entry"])
def test_a_request_too_many_is_refused_and_its_connection_kept(
    target: str, origin: Origin, start_hopwise: StartHopwise
) -> None:
    hopwise = start_small(origin, start_hopwise, in_flight=4)
    calls = Held(origin, hopwise)
    body = json.dumps({"fn_name": "echo", "payload": "x"}).encode()
    with connect(hopwise.data, CLIENT) as wire, connect(hopwise.data, OTHER_CLIENT) as other:
        for _ in range(2):
            calls.call(CLIENT)
        wire.send(request("POST", target, body=body))
        assert_refused(wire.response("POST"), "client_share")
        for _ in range(2):
            calls.call(OTHER_CLIENT)
        other.send(request("POST", target, body=body))
        assert_refused(other.response("POST"), "too_many_requests")
        # Whoever looks what is wrong gets an answer, and so do peers.
        wire.send(request("GET", "/load", host="localhost"))
        assert wire.response().status == 200
        with connect(hopwise.data, hopwise.data[0]) as peer:
            peer.send(request("POST", target, body=body))
            assert peer.response("POST").status == 200
        calls.end()
        for again in (wire, other):
            again.send(request("POST", target, body=body))
            assert again.response("POST").status == 200
    assert refused_for(hopwise, "client_in_flight") == refused_for(hopwise, "in_flight") == 1


def test_without_descriptors_clients_are_refused_and_served_again_later(
    origin: Origin, start_hopwise: StartHopwise
) -> None:
    hopwise = start_hopwise(single_node(origin.address, limits={"client_share": 1}))
    pid = hopwise.process.pid
    used = max(int(fd) for fd in list_descriptors(pid)) + 1
    room = 20
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + room, used + room))
    # Some find a gap below, or are turned away.
    with held(hopwise, 2 * room):
        eventually(
            lambda: len(list_descriptors(pid)) >= used + room - 1, "all descriptors are taken"
        )
        answers = []
        for _ in range(5):
            begun = time.monotonic()
            with connect(hopwise.data, OTHER_CLIENT) as wire:
                with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                    wire.send(request("GET", ECHO, "Connection: close"))
                    answers.append(wire.rest())
            assert time.monotonic() - begun < 15, "nobody is left to wait"
        assert any(answer.startswith(b"HTTP/1.1 503 ") for answer in answers), answers
    eventually(
        lambda: hopwise.call("GET", ECHO).status == 200, "there are descriptors again", timeout=20
    )
    assert refused_for(hopwise, "no_descriptors") >= 1


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be(
    origin: Origin, start_hopwise: StartHopwise
) -> None:
    few = ("prlimit", "--nofile=256:2048")
    hopwise = start_hopwise(single_node(origin.address), wrapper=few)
    assert resource.prlimit(hopwise.process.pid, resource.RLIMIT_NOFILE) == (2048, 2048)
    told = hopwise.output()
    assert "limits.connections" in told
    assert "2048" in told
    with held(hopwise, 300):
        assert hopwise.call("GET", ECHO).status == 200


def list_descriptors(pid: int) -> list[str]:
    return os.listdir(f"/proc/{pid}/fd")


def test_callers_share_the_queue(origin: Origin, start_hopwise: StartHopwise) -> None:
    """One client fills the queue; another gets a place of it, and its turn."""
    hopwise = start_hopwise(
        single_node(origin.address, queue={"enabled": True, "running": 1, "waiting": 4})
    )
    first = Held(origin, hopwise)
    first.call(CLIENT)
    with ExitStack() as stack:
        greedy = [stack.enter_context(connect(hopwise.data, CLIENT)) for _ in range(4)]
        for wire in greedy:
            wire.send(request("GET", ECHO))
        eventually(lambda: hopwise.metrics()["hopwise_queued"] == 4, "the queue is full")
        modest = stack.enter_context(connect(hopwise.data, OTHER_CLIENT))
        modest.send(request("GET", ECHO))
        last = stack.enter_context(connect(hopwise.data, CLIENT))
        last.send(request("GET", ECHO))
        assert_refused(last.response(), "queue_full")
        first.end()
        assert modest.response().status == 200
        statuses = sorted(wire.response().status for wire in greedy)
        assert statuses == [200, 200, 200, 503]
