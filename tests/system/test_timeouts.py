"""Nothing waits for ever: each wait has a bound of its own, and ends for its own reason."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from conftest import StartHopwise
from origin import Origin, Received, read_body
from support.exchange import new_run
from support.hopwise import CLIENT, Hopwise, single_node
from support.wait import eventually
from support.wire import Closed, Wire, connect, raw_head, request

ECHO = "/function/echo"
BOUND_MS = 700
# Far longer than any test, so that no other bound than the one of the test is met.
FAR_MS = 60_000
WAITS = (
    "request_header_ms",
    "request_body_ms",
    "keep_alive_ms",
    "answer_ms",
    "answer_body_ms",
    "client_read_ms",
    "total_ms",
    "tunnel_ms",
)

Start = Callable[[str], Hopwise]


@pytest.fixture
def start(origin: Origin, start_hopwise: StartHopwise) -> Start:
    """Starts hopwise where one wait is short and all others are long."""

    def start(short: str) -> Hopwise:
        assert short in WAITS
        config = single_node(origin.address)
        config["timeouts"] = {name: FAR_MS for name in WAITS} | {short: BOUND_MS}
        return start_hopwise(config)

    return start


def ended(hopwise: Hopwise) -> dict[str, int]:
    """Why connections were ended so far, and how often."""
    prefix = 'hopwise_timeouts_total{reason="'
    found = hopwise.metrics().items()
    return {name[len(prefix) : -2]: int(n) for name, n in found if n and name.startswith(prefix)}


def wait_for_end(wire: Wire, begun: float) -> bytes:
    """What comes until the end, which comes no sooner than it should."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        got = wire.rest()
    assert time.monotonic() - begun >= BOUND_MS / 1000
    return got


def test_a_client_that_asks_nothing_more_is_let_go(start: Start) -> None:
    hopwise = start("keep_alive_ms")
    with connect(hopwise.data, CLIENT) as wire:
        for _ in range(2):
            wire.send(request("GET", ECHO))
            assert wire.response().status == 200
            time.sleep(0.2)
        begun = time.monotonic() - 0.2
        assert wait_for_end(wire, begun) == b""
    assert ended(hopwise) == {"keep_alive": 1}


def test_a_head_that_comes_bit_by_bit_gains_no_time(start: Start) -> None:
    hopwise = start("request_header_ms")
    with connect(hopwise.data, CLIENT) as wire:
        wire.send(request("GET", ECHO))
        assert wire.response().status == 200
        begun = time.monotonic()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for byte in raw_head("GET", ECHO, "X-Long: " + "x" * 300):
                wire.send(bytes([byte]))
                time.sleep(0.05)
            pytest.fail("the whole head was sent")
        assert time.monotonic() - begun >= BOUND_MS / 1000
    assert ended(hopwise) == {"request_header": 1}


@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
def test_a_stalled_upload_is_answered_with_408(framing: str, start: Start) -> None:
    hopwise = start("request_body_ms")
    with connect(hopwise.data, CLIENT) as wire:
        begun = time.monotonic()
        wire.send(raw_head("POST", ECHO, framing) + b"1\r\nx\r\n")
        response = wire.response("POST")
        assert (response.status, response.value("hopwise-refusal")) == (408, "request_timeout")
        assert time.monotonic() - begun >= BOUND_MS / 1000
        assert wire.is_closed_by_peer()
    assert ended(hopwise) == {"request_body": 1}
    assert hopwise.metrics()["hopwise_in_flight"] == 0


def test_a_gateway_that_is_slow_to_take_an_upload_is_not_the_clients_fault(
    origin: Origin, start: Start
) -> None:
    def slow(wire: Wire, received: Received) -> bool:
        time.sleep(4 * BOUND_MS / 1000)
        read_body(wire, received, keep=False)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        return True

    hopwise = start("request_body_ms")
    run = new_run()
    origin.scripts[run] = slow
    body = bytes(32 << 20)
    with connect(hopwise.data, CLIENT) as wire:
        wire.send(request("POST", ECHO, f"X-Run: {run}", body=body))
        assert wire.response("POST").status == 200
    assert origin.seen(run).body_bytes == len(body)
    assert ended(hopwise) == {}


def stall_after(part: bytes) -> Callable[[Wire, Received], bool]:
    """Begins an answer of two parts and never goes on."""

    def run(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + part)
        received.client_left = wire.sock.recv(1) == b""
        return False

    return run


def test_an_answer_that_stalls_is_broken_off_on_both_sides(origin: Origin, start: Start) -> None:
    hopwise = start("answer_body_ms")
    run = new_run()
    origin.scripts[run] = stall_after(b"3\r\none\r\n")
    with connect(hopwise.data, CLIENT) as wire:
        begun = time.monotonic()
        wire.send(request("GET", ECHO, f"X-Run: {run}"))
        head = wire.response_head()
        assert head.status == 200 and wire.chunk() == b"one"
        assert wait_for_end(wire, begun) == b"", "nobody takes it for complete"
    eventually(lambda: origin.seen(run).client_left, "the gateway is let go")
    assert ended(hopwise) == {"answer_body": 1}
    assert hopwise.metrics()["hopwise_in_flight"] == 0


def test_a_stream_of_http2_that_stalls_is_broken_off(origin: Origin, start: Start) -> None:
    hopwise = start("answer_body_ms")
    run = new_run()
    origin.scripts[run] = stall_after(b"3\r\none\r\n")
    program = shutil.which("curl")
    assert program, "curl is missing"
    url = f"http://{hopwise.data[0]}:{hopwise.data[1]}{ECHO}"
    command = [program, "-sS", "--max-time", "30", "--http2-prior-knowledge", "-H", f"X-Run: {run}"]
    done = subprocess.run([*command, url], capture_output=True, timeout=60, check=False)
    assert done.stdout == b"one" and done.returncode not in (0, 28), done
    assert ended(hopwise) == {"answer_body": 1}


def test_a_client_that_takes_nothing_is_let_go(origin: Origin, start: Start) -> None:
    hopwise = start("client_read_ms")
    run = new_run()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(20)
        sock.bind((CLIENT, 0))
        sock.connect(hopwise.data)
        sock.sendall(request("GET", f"/function/zeros?bytes={1 << 28}", f"X-Run: {run}"))
        eventually(lambda: ended(hopwise) == {"client_read": 1}, "it is let go")
    eventually(lambda: origin.seen(run).client_left, "the gateway is let go")


def test_a_slow_reader_is_served_to_the_end(start: Start) -> None:
    hopwise = start("client_read_ms")
    size = 4 << 20
    with connect(hopwise.data, CLIENT) as wire:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        wire.send(request("GET", f"/function/zeros?bytes={size}"))
        head = wire.response_head()
        assert head.status == 200
        for _ in range(8):
            assert wire.skip(size // 8) == size // 8
            time.sleep(BOUND_MS / 2000)
    assert ended(hopwise) == {}


def test_an_answer_without_end_ends(start: Start) -> None:
    hopwise = start("total_ms")
    with connect(hopwise.data, CLIENT) as wire:
        begun = time.monotonic()
        wire.send(request("GET", "/function/sse"))
        assert wire.response_head().status == 200
        assert b"tick" in wait_for_end(wire, begun)
    assert ended(hopwise) == {"total": 1}


def test_a_tunnel_is_kept_while_something_moves(origin: Origin, start: Start) -> None:
    hopwise = start("tunnel_ms")
    run = new_run()

    def echo(wire: Wire, received: Received) -> bool:
        wire.send(b"HTTP/1.1 101 Own\r\nConnection: Upgrade\r\nUpgrade: own/1\r\n\r\n")
        with contextlib.suppress(Closed):
            while True:
                wire.send(wire.exactly(1))
        received.client_left = True
        return False

    origin.scripts[run] = echo
    with connect(hopwise.data, CLIENT) as wire:
        upgrade = ("Connection: Upgrade", "Upgrade: own/1")
        wire.send(raw_head("GET", ECHO, f"X-Run: {run}", *upgrade))
        assert wire.response_head().status == 101
        for _ in range(5):
            begun = time.monotonic()
            wire.send(b"x")
            assert wire.exactly(1) == b"x"
            time.sleep(BOUND_MS / 2000)
        assert wait_for_end(wire, begun) == b""
    eventually(lambda: origin.seen(run).client_left, "the gateway is let go")
    assert ended(hopwise) == {"tunnel": 1}
