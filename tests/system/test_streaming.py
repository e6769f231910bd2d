"""Bodies of any length and any pace pass, in both directions, without being kept."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_websocket

from origin import Origin, Received, read_body
from support.exchange import new_run
from support.gateway import Gateway
from support.hopwise import CLIENT, Hopwise, resident_bytes
from support.wait import eventually
from support.wire import Closed, Wire, connect, fetch, raw_head

GIB = 1 << 30
BLOCK = bytes(1 << 20)
# What hopwise may hold while anything streams through it.
RESIDENT_MAX = 64 << 20


def url(proxy: Hopwise, target: str, scheme: str = "http") -> str:
    return f"{scheme}://{proxy.data[0]}:{proxy.data[1]}{target}"


@contextmanager
def memory_watched(proxy: Hopwise) -> Iterator[list[int]]:
    """Samples hopwise's resident memory until the block ends."""
    samples = [resident_bytes(proxy.process.pid)]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            samples.append(resident_bytes(proxy.process.pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def test_each_event_arrives_before_the_next_is_made(origin: Origin, before_origin: Hopwise) -> None:
    """The gateway makes an event only once the client has told it that it saw the one before."""
    run = new_run()
    seen = threading.Semaphore(0)

    def in_step(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        wire.send(b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            event = f"data: {number}\n\n".encode()
            wire.send(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            if not seen.acquire(timeout=10):
                return False
        wire.send(b"0\r\n\r\n")
        received.answered = True
        return True

    origin.scripts[run] = in_step
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("GET", "/function/live", f"X-Run: {run}"))
        assert wire.response_head().status == 200
        for number in range(20):
            assert wire.chunk() == f"data: {number}\n\n".encode()
            seen.release()
        assert wire.chunk() == b""


def test_each_part_of_a_request_arrives_before_the_next_is_sent(
    origin: Origin, before_origin: Hopwise
) -> None:
    run = new_run()
    parts: list[bytes] = []

    def collect(wire: Wire, _: Received) -> bool:
        while data := wire.chunk():
            parts.append(data)
        wire.fields()
        wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        return True

    origin.scripts[run] = collect
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("POST", "/function/x", f"X-Run: {run}", "Transfer-Encoding: chunked"))
        for number in range(20):
            wire.send(b"2\r\n%02d\r\n" % number)
            so_far = 2 * (number + 1)
            eventually(lambda n=so_far: sum(map(len, parts)) == n, f"part {number} arrives", 10)
        wire.send(b"0\r\n\r\n")
        assert wire.response().status == 204
    assert b"".join(parts) == b"".join(b"%02d" % number for number in range(20))


def test_answer_and_request_stream_at_once(origin: Origin, before_origin: Hopwise) -> None:
    run = new_run()

    def mirror(wire: Wire, _: Received) -> bool:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while data := wire.chunk():
            wire.send(b"%x\r\n%s\r\n" % (len(data), data))
        wire.fields()
        wire.send(b"0\r\n\r\n")
        return True

    origin.scripts[run] = mirror
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("POST", "/function/x", f"X-Run: {run}", "Transfer-Encoding: chunked"))
        assert wire.response_head().status == 200
        for number in range(20):
            wire.send(b"2\r\n%02d\r\n" % number)
            assert wire.chunk() == b"%02d" % number
        wire.send(b"0\r\n\r\n")
        assert wire.chunk() == b""


def test_a_real_event_stream(before_gateway: Hopwise) -> None:
    """Through hopwise, nginx and the function runtime; it has no end, so nothing can collect it."""
    with requests.get(url(before_gateway, "/function/sse"), stream=True, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        data = [line for _, line in zip(range(30), lines, strict=False) if line == b"data: tick"]
    assert len(data) >= 9


def test_the_function_learns_that_the_client_left(origin: Origin, before_origin: Hopwise) -> None:
    run = new_run()
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("GET", "/function/sse", f"X-Run: {run}"))
        wire.response_head()
        assert wire.chunk()
    eventually(lambda: origin.seen(run).client_left, "the stream ends at the function")


@pytest.mark.slow
def test_2_gib_download_with_flat_memory(origin: Origin, before_origin: Hopwise) -> None:
    with memory_watched(before_origin) as samples, connect(before_origin.data, CLIENT) as wire:
        wire.sock.settimeout(60)
        wire.send(raw_head("GET", f"/function/zeros?bytes={2 * GIB}"))
        head = wire.response_head()
        assert head.value("content-length") == str(2 * GIB)
        assert wire.skip(2 * GIB) == 2 * GIB
    assert max(samples) < RESIDENT_MAX


@pytest.mark.slow
def test_2_gib_upload_with_flat_memory(origin: Origin, before_origin: Hopwise) -> None:
    with memory_watched(before_origin) as samples, connect(before_origin.data, CLIENT) as wire:
        wire.sock.settimeout(60)
        wire.send(raw_head("POST", "/function/sink", f"Content-Length: {2 * GIB}"))
        for _ in range(2 * GIB // len(BLOCK)):
            wire.send(BLOCK)
        assert json.loads(wire.response().body) == {"bytes": 2 * GIB}
    assert max(samples) < RESIDENT_MAX


def test_a_slow_reader_is_not_read_ahead_for(origin: Origin, before_origin: Hopwise) -> None:
    """A client that stops reading stops the gateway too, instead of filling our memory."""
    size = 256 << 20
    with memory_watched(before_origin) as samples, connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("GET", f"/function/zeros?bytes={size}"))
        wire.response_head()
        time.sleep(1.0)
        assert wire.skip(size) == size
    assert max(samples) < RESIDENT_MAX


@pytest.mark.parametrize("chunked", [False, True])
def test_a_cut_upload_is_cut_at_the_function_and_the_clients_fault(
    chunked: bool, origin: Origin, before_origin: Hopwise
) -> None:
    run = new_run()
    before = before_origin.metrics()
    with connect(before_origin.data, CLIENT) as wire:
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {8 << 20}"
        wire.send(raw_head("POST", "/function/sink", f"X-Run: {run}", framing))
        if chunked:
            wire.send(b"%x\r\n" % (8 << 20))
        for _ in range(4):
            wire.send(BLOCK)
        eventually(lambda: origin.by_run.get(run), "the function has begun")
    eventually(lambda: origin.seen(run).cut, "the upload is cut at the function")
    assert not origin.seen(run).complete
    assert origin.seen(run).body_bytes <= 4 << 20

    def counted() -> bool:
        after = before_origin.metrics()
        family = "hopwise_client_aborts_total"
        return after[family] == before.get(family, 0.0) + 1

    eventually(counted, "it is counted as the client's fault")


def test_a_cut_upload_is_cut_at_a_real_function(before_gateway: Hopwise) -> None:
    run = new_run()
    target = f"/function/sink?run={run}"
    with connect(before_gateway.data, CLIENT) as wire:
        wire.send(raw_head("POST", target, f"Content-Length: {8 << 20}"))
        for _ in range(4):
            wire.send(BLOCK)

    def cut() -> bool:
        seen = fetch(before_gateway.data, "GET", f"/function/sink/seen?run={run}").body
        return json.loads(seen).get("cut") is True

    eventually(cut, "the runtime sees the upload end early")


def test_an_answer_cut_by_the_gateway_is_cut_for_the_client(
    origin: Origin, before_origin: Hopwise
) -> None:
    run = new_run()
    before = before_origin.metrics()

    def half(wire: Wire, _: Received) -> bool:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + bytes(50))
        return False

    origin.scripts[run] = half
    with connect(before_origin.data, CLIENT) as wire, pytest.raises((Closed, ConnectionResetError)):
        wire.send(raw_head("GET", "/function/x", f"X-Run: {run}"))
        wire.response()
    family = "hopwise_client_aborts_total"
    assert before_origin.metrics().get(family, 0) == before.get(family, 0), "not the client's fault"


def test_a_client_that_leaves_before_the_end_is_counted(
    origin: Origin, before_origin: Hopwise
) -> None:
    run = new_run()
    before = before_origin.metrics().get("hopwise_client_aborts_total", 0.0)

    def endless(wire: Wire, _: Received) -> bool:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:  # until nobody reads any more, which is an error here
            wire.send(bytes(1 << 16))

    origin.scripts[run] = endless
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("GET", "/function/x", f"X-Run: {run}"))
        wire.response_head()

    def counted() -> bool:
        return before_origin.metrics()["hopwise_client_aborts_total"] == before + 1

    eventually(counted, "it is counted as the client's doing")


def test_websocket_through_the_real_gateway(gateway: Gateway, before_gateway: Hopwise) -> None:
    # More than any read buffer, with bytes that are no text.
    messages: list[str | bytes] = ["hello", "käse", b"\0\xff\r\n", b"\1" * 300_000, ""]
    with connect_websocket(url(before_gateway, "/ws", "ws"), max_size=None) as client:
        for message in messages:
            client.send(message)
            assert client.recv(timeout=20) == message
        client.ping().wait(20)
        client.close(code=4001, reason="enough")
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=20)
    assert closed.value.sent is not None and closed.value.sent.code == 4001
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4001


def test_an_upgrade_to_any_protocol(origin: Origin, before_origin: Hopwise) -> None:
    """Both sides may speak at once after 101, the gateway first, and each may close its half."""
    run = new_run()

    def speak(wire: Wire, received: Received) -> bool:
        wire.send(b"HTTP/1.1 101 Own Words\r\nConnection: Upgrade\r\nUpgrade: own/1\r\n")
        wire.send(b"X-Extra: 1\r\n\r\nhello first")
        received.body = wire.rest()
        wire.send(b"bye")
        return False

    origin.scripts[run] = speak
    with connect(before_origin.data, CLIENT) as wire:
        upgrade = ("Connection: Upgrade", "Upgrade: own/1")
        wire.send(raw_head("GET", "/function/x", f"X-Run: {run}", *upgrade))
        head = wire.response_head()
        assert head.status == 101
        assert head.value("upgrade") == "own/1" and head.value("x-extra") == "1"
        assert wire.exactly(11) == b"hello first"
        wire.send(b"from the client\0")
        wire.sock.shutdown(socket.SHUT_WR)
        assert wire.rest() == b"bye"
    received = origin.seen(run)
    assert received.body == b"from the client\0"
    assert received.value("upgrade") == "own/1"


def test_an_upgrade_may_be_declined(origin: Origin, before_origin: Hopwise) -> None:
    fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA")
    with connect(before_origin.data, CLIENT) as wire:
        for _ in range(2):
            wire.send(raw_head("GET", "/function/echo", *fields))
            assert wire.response().status == 200


def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("curl")
    assert program, "curl is missing"
    command = [program, "--silent", "--show-error", "--max-time", "60", *arguments]
    return subprocess.run(command, capture_output=True, timeout=90, check=True)


def test_curl_http2_with_prior_knowledge(before_gateway: Hopwise) -> None:
    target = url(before_gateway, "/function/echo?a=1")
    done = curl("--http2-prior-knowledge", "-i", "-d", "over h2", target)
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/2 200")
    assert b"x-call-id: " in head
    document = json.loads(body)
    assert document["method"] == "POST" and document["target"] == "/function/echo?a=1"


def test_curl_http2_streams_large_bodies(before_gateway: Hopwise, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(BLOCK * 5)
    up = curl("--http2-prior-knowledge", "-T", str(file), url(before_gateway, "/function/sink"))
    assert json.loads(up.stdout)["bytes"] == len(BLOCK) * 5
    down = url(before_gateway, f"/function/stream?bytes={5 << 20}")
    assert len(curl("--http2-prior-knowledge", down).stdout) == 5 << 20


def test_curl_uploads_a_file(before_gateway: Hopwise, tmp_path: Path) -> None:
    """curl announces the body with `Expect: 100-continue` when it is large."""
    file = tmp_path / "upload"
    file.write_bytes(BLOCK * 3)
    done = curl("-T", str(file), url(before_gateway, "/function/sink"))
    assert json.loads(done.stdout)["bytes"] == len(BLOCK) * 3


def test_requests_streams_an_upload(before_gateway: Hopwise) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b"z" * 10_000

    answer = requests.put(url(before_gateway, "/function/sink"), data=parts(), timeout=30)
    assert answer.json()["bytes"] == 1_000_000
