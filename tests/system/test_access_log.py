"""The access log: a line for each request, whatever became of it, and whatever it was."""

import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import StartHopwise
from origin import Origin, Received, answer, read_body
from support.cluster import Cluster
from support.exchange import new_run
from support.hopwise import CLIENT, Config, Hopwise, single_node
from support.wait import eventually, free_port
from support.wire import Wire, connect, raw_head, request

ECHO = "/function/echo"
Line = dict[str, Any]


def logging(gateway: tuple[str, int], path: Path, **changes: Any) -> Config:
    log = {"format": "json", "path": str(path), **changes.pop("access_log", {})}
    # One worker, so that who connects first is known.
    return single_node(gateway, access_log=log, **{"workers": 1, **changes})


def lines(path: Path) -> list[Line]:
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def line_of(path: Path, call_id: str) -> Line:
    """The one line of the request with this X-Call-Id."""

    def found() -> list[Line]:
        return [line for line in lines(path) if line.get("call_id") == call_id]

    eventually(found, f"there is a line for {call_id}", timeout=10)
    assert len(found()) == 1, found()
    return found()[0]


class Caller:
    """A sidecar with a log, and requests that can be told from each other in it."""

    def __init__(self, hopwise: Hopwise, path: Path) -> None:
        self.hopwise, self.path = hopwise, path

    def call(self, target: str = ECHO, *headers: str, method: str = "POST", body: bytes = b"x") -> Line:
        run = new_run()
        self.hopwise.call(method, target, f"X-Call-Id: {run}", *headers, body=body)
        return line_of(self.path, run)


@pytest.fixture
def start(origin: Origin, start_hopwise: StartHopwise, tmp_path: Path) -> Callable[..., Caller]:
    def begin(gateway: tuple[str, int] | None = None, **changes: Any) -> Caller:
        path = tmp_path / "access.log"
        return Caller(start_hopwise(logging(gateway or origin.address, path, **changes)), path)

    return begin


def scripted(origin: Origin, script: Callable[[Wire, Received], bool]) -> str:
    run = new_run()
    origin.scripts[run] = script
    return f"X-Run: {run}"


def test_a_line_tells_of_a_request_all_there_is_to_tell(start: Callable[..., Caller]) -> None:
    caller = start()
    before = time.time()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    line = caller.call(
        f"{ECHO}/a%20b?secret=1",
        "User-Agent: test/1",
        "X-Request-Id: r1",
        f"traceparent: 00-{trace}-00f067aa0ba902b7-01",
        body=b"hello",
    )
    assert line["time"].endswith("Z") and len(line["time"]) == 24
    stamp = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(before))
    assert line["time"].startswith(stamp) or time.gmtime(before).tm_sec == 59
    expected = {
        "method": "POST", "path": f"{ECHO}/a%20b", "protocol": "HTTP/1.1", "status": 200,
        "flags": "-", "details": "via_upstream", "bytes_received": 5, "attempts": 1,
        "function": "echo", "architecture": "decentralized", "node": "edge1", "target": "edge1",
        "role": "local", "hop": 0, "user_agent": "test/1", "request_id": "r1", "trace_id": trace,
    }  # fmt: skip
    assert {key: line[key] for key in expected} == expected
    assert line["bytes_sent"] > 50 and line["client"].startswith(f"{CLIENT}:")
    # The first request connects; the times that are part of others are shorter.
    assert 0 < line["decide_ms"] < line["total_ms"] and 0 < line["connect_ms"] < line["total_ms"]
    assert line["upstream_ms"] + line["connect_ms"] + line["decide_ms"] <= line["total_ms"]
    second = caller.call("/function/sleep?seconds=0.3")
    assert 300 <= second["upstream_ms"] <= second["total_ms"] and "connect_ms" not in second
    passed = caller.call("/system/functions", method="GET", body=b"")
    assert (passed["details"], "function" in passed) == ("via_upstream", False)
    entry = caller.call("/entry", body=b'{"fn_name": "echo", "payload": "abc"}')
    assert (entry["path"], entry["function"], entry["status"]) == ("/entry", "echo", 200)
    own = caller.call("/load", method="GET", body=b"")
    assert (own["status"], own["details"]) == (200, "direct_response")


def test_the_id_of_a_call_is_kept_and_the_gateways_is_told(
    origin: Origin, start: Callable[..., Caller]
) -> None:
    caller = start()

    def script(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(answer("200 OK", f"X-Call-Id: gateway-{received.value('x-run')}"))
        return True

    field = scripted(origin, script)
    run = field.removeprefix("X-Run: ")
    response = caller.hopwise.call("POST", ECHO, field, "X-Call-Id: mine", body=b"x")
    assert origin.seen(run).value("x-call-id") == "mine"
    assert response.value("x-call-id") == f"gateway-{run}"
    assert line_of(caller.path, f"gateway-{run}")["status"] == 200


def test_an_upstream_that_refuses_is_uf(start: Callable[..., Caller]) -> None:
    nobody = ("127.0.0.1", free_port())
    line = start(nobody).call()
    assert (line["status"], line["flags"].split(",")[0]) == (502, "UF")
    assert line["details"] == "upstream_reset_before_response_started{connection_failure}"


def test_an_upstream_that_cannot_be_reached_in_time_is_uf_too(start: Callable[..., Caller]) -> None:
    # A full queue of connections: the kernel answers no more.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        line = start(full.getsockname(), timeouts={"connect_ms": 200}, retries={"attempts": 1}).call()
    assert (line["status"], line["flags"]) == (502, "UF")
    assert line["details"] == "upstream_reset_before_response_started{connection_timeout}"
    assert 200 <= line["connect_ms"] < 1000


def test_an_upstream_that_breaks_off_is_uc_before_and_within_its_answer(
    origin: Origin, start: Callable[..., Caller]
) -> None:
    caller = start(retries={"attempts": 1})

    def close(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        return False

    line = caller.call(ECHO, scripted(origin, close))
    assert (line["status"], line["flags"]) == (502, "UC")
    assert line["details"] == "upstream_reset_before_response_started{connection_termination}"

    def part(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        return False

    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(request("POST", ECHO, scripted(origin, part), f"X-Call-Id: {run}", body=b"x"))
        wire.rest()
    line = line_of(caller.path, run)
    assert (line["status"], line["flags"], line["bytes_sent"]) == (200, "UC", 4)
    assert line["details"] == "upstream_reset_after_response_started{connection_termination}"

    def nonsense(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(b"HELLO?\r\n\r\n")
        return False

    assert caller.call(ECHO, scripted(origin, nonsense))["flags"] == "UPE"


def test_attempts_are_counted_and_urx_says_that_no_more_are_left(
    origin: Origin, start: Callable[..., Caller]
) -> None:
    def close(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        return False

    line = start(retries={"attempts": 2}).call(ECHO, scripted(origin, close), method="PUT")
    assert (line["flags"], line["attempts"]) == ("UC,URX", 2)


def test_an_answer_that_does_not_come_in_time_is_ut(start: Callable[..., Caller]) -> None:
    line = start(timeouts={"answer_ms": 300}).call("/function/sleep?seconds=5")
    assert (line["status"], line["flags"]) == (504, "UT")
    assert line["details"] == "upstream_response_timeout" and 250 < line["upstream_ms"] < 2000


def test_what_stalls_is_si(origin: Origin, start: Callable[..., Caller]) -> None:
    caller = start(timeouts={"answer_body_ms": 300, "request_body_ms": 300})

    def stall(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(3)
        return False

    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(request("POST", ECHO, scripted(origin, stall), f"X-Call-Id: {run}", body=b"x"))
        wire.rest()
    line = line_of(caller.path, run)
    assert (line["flags"], line["details"]) == ("SI", "stream_idle_timeout")
    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(raw_head("POST", ECHO, f"X-Call-Id: {run}", "Content-Length: 9") + b"some")
        assert wire.response("POST").status == 408
    line = line_of(caller.path, run)
    assert (line["flags"], line["bytes_received"]) == ("SI", 4)


def test_what_takes_too_long_in_all_is_dt(start: Callable[..., Caller]) -> None:
    caller, run = start(timeouts={"total_ms": 300}), new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(request("POST", "/function/sleep?seconds=5", f"X-Call-Id: {run}", body=b"x"))
        assert wire.is_closed_by_peer()
    line = line_of(caller.path, run)
    assert (line["status"], line["flags"], line["details"]) == (0, "DT", "max_duration_timeout")


def test_a_client_that_leaves_is_dc_before_and_within_the_answer(
    start: Callable[..., Caller],
) -> None:
    caller = start()
    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(request("POST", "/function/sleep?seconds=5", f"X-Call-Id: {run}", body=b"x"))
        time.sleep(0.2)
    line = line_of(caller.path, run)
    assert (line["status"], line["flags"]) == (0, "DC")
    assert line["details"] == "downstream_remote_disconnect" and line["function"] == "sleep"
    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(request("GET", "/function/sse", f"X-Call-Id: {run}"))
        wire.response_head()
        wire.chunk()
    line = line_of(caller.path, run)
    assert (line["status"], line["flags"]) == (200, "DC") and line["bytes_sent"] > 0


def test_what_makes_no_sense_is_dpe(start: Callable[..., Caller]) -> None:
    caller = start()
    line = caller.call(ECHO, "Transfer-Encoding: gzip, chunked", body=b"")
    assert (line["status"], line["flags"], line["details"]) == (501, "DPE", "transfer_coding")
    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        head = raw_head("POST", ECHO, f"X-Call-Id: {run}", "Transfer-Encoding: chunked")
        wire.send(head + b"3\r\nabc\r\nnonsense\r\n")
        wire.rest()
    line = line_of(caller.path, run)
    assert (line["status"], line["flags"]) == (400, "DPE")
    assert caller.call("/function/..%2fx")["flags"] == "DPE"


def test_overload_is_om_and_rl_and_uo(start: Callable[..., Caller], origin: Origin) -> None:
    caller = start(limits={"in_flight": 2, "client_share": 1}, queue={"enabled": True})

    def held(target: str, count: int) -> list[threading.Thread]:
        calls = [threading.Thread(target=caller.call, args=(target,)) for _ in range(count)]
        seen = len(origin.received)
        for call in calls:
            call.start()
        eventually(lambda: len(origin.received) >= seen + count, "they run")
        return calls

    busy = held("/function/sleep?seconds=2", 2)
    line = caller.call()
    assert (line["status"], line["flags"], line["details"]) == (503, "OM", "overload")
    for call in busy:
        call.join()
    config = {**caller.hopwise.config, "limits": {"in_flight": 4, "client_share": 0.25}}
    caller.hopwise.write(config)
    caller.hopwise.json("POST", "/reload", admin=True)
    busy = held("/function/sleep?seconds=2", 1)
    line = caller.call()
    assert (line["flags"], line["details"]) == ("RL", "request_rate_limited")
    busy[0].join()
    queue = {"enabled": True, "running": 1, "waiting": 0}
    caller.hopwise.write({**config, "limits": {}, "queue": queue})
    caller.hopwise.json("POST", "/reload", admin=True)
    busy = held("/function/sleep?seconds=2", 1)
    line = caller.call()
    assert (line["status"], line["flags"].split(",")[0], line["details"]) == (503, "UO", "overflow")
    busy[0].join()
    waiting = {"enabled": True, "running": 1, "waiting": 5}
    caller.hopwise.write({**config, "limits": {}, "queue": waiting})
    caller.hopwise.json("POST", "/reload", admin=True)
    busy = held("/function/sleep?seconds=1", 1)
    line = caller.call()
    assert line["flags"] == "-" and 200 < line["queue_ms"] < line["total_ms"]
    busy[0].join()


def test_a_circle_is_nr_and_a_deadline_that_has_passed_dt(start: Callable[..., Caller]) -> None:
    caller = start()
    run = new_run()
    with connect(caller.hopwise.data, "127.0.0.2") as wire:
        fields = ("hopwise-call: hop=1, via=edge1", f"X-Call-Id: {run}")
        wire.send(request("POST", ECHO, *fields, body=b"x"))
        assert wire.response("POST").status == 508
    line = line_of(caller.path, run)
    assert (line["flags"], line["details"], line["hop"]) == ("NR", "loop", 1)
    late = json.dumps({"fn_name": "echo", "payload": "", "deadline": time.time() - 1}).encode()
    line = caller.call("/entry", body=late)
    assert (line["status"], line["flags"], line["details"]) == (504, "DT", "deadline_passed")


def test_who_may_not_is_uaex(start: Callable[..., Caller], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("a key that nobody else has\n")
    caller = start(peers={"key_file": str(key)})
    line = caller.call("/reload", "Origin: http://elsewhere.example", body=b"")
    assert (line["status"], line["flags"], line["details"]) == (403, "UAEX", "cross_origin")
    line = caller.call(ECHO, "hopwise-hop: 1", "hopwise-via: edge2", "hopwise-signature: forged")
    assert (line["status"], line["flags"], line["details"]) == (403, "UAEX", "peer_rejected")
    assert "target" not in line and line["attempts"] == 0


def test_who_ran_it_is_told_at_both_ends(make_cluster: Callable[..., Cluster]) -> None:
    log = {"format": "json", "path": "access.log"}
    own = {id: {"access_log": {**log, "path": f"{id}.access"}} for id in ("edge2", "edge1")}
    cluster = make_cluster(architecture="federated", own=own)
    run = new_run()
    response = cluster.call("edge2", ECHO, f"X-Call-Id: {run}")
    ran = response.value("hopwise-node")
    entry = line_of(cluster.directory / "edge2.access", run)
    assert (entry["node"], entry["target"], entry["hop"]) == ("edge2", ran, 0)
    assert entry["role"] == ("local" if ran == "edge2" else "remote")
    hop = line_of(cluster.directory / "edge1.access", run)
    assert (hop["node"], hop["role"], hop["hop"]) == ("edge1", "hop", 1)
    assert hop["architecture"] == entry["architecture"] == "federated"


ATTACKS = [
    b'x","status":200,"y":"',
    b"a\tb",
    b"\xff\xfe\xc3(",
    b"\xc2\x9b2J\xe2\x80\xa8\xe2\x80\xae",
    b"x\\",
    b"\\u0022\\x22",
    b"A" * 5000,
]


@pytest.mark.parametrize("format", ["json", "text"])
def test_no_client_writes_lines_of_its_own(start: Callable[..., Caller], format: str) -> None:
    caller = start(access_log={"format": format})
    for attack in ATTACKS:
        with connect(caller.hopwise.data, CLIENT) as wire:
            fields = b"User-Agent: " + attack + b"\r\nX-Call-Id: " + attack + b"\r\nX-Request-Id: " + attack
            head = b"POST /function/echo/%0a\"%22 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"
            wire.send(head + fields + b"\r\n\r\n")
            assert wire.response("POST").status == 200
    for path in (b"/ui/" + b"p" * 4000, b'/ui/{"a":"b"}', b"/ui/\xc3\xa9"):
        with connect(caller.hopwise.data, CLIENT) as wire:
            wire.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            wire.response_head()
    count = len(ATTACKS) + 3

    def written() -> list[bytes]:
        return caller.path.read_bytes().split(b"\n")[:-1]

    eventually(lambda: len(written()) >= count, "all have their lines")
    assert len(written()) == count
    for line in written():
        assert len(line) < 8000
        text = line.decode()
        assert text.isprintable(), line
        if format == "json":
            document = json.loads(line)
            assert document["status"] in (200, 400) and document["node"] == "edge1"
        else:
            assert text.isascii() and text.startswith("[20") and '" 200 - via_upstream ' in text
    if format == "json":
        agents = [json.loads(line).get("user_agent", "") for line in written()[: len(ATTACKS)]]
        for attack, agent in zip(ATTACKS, agents, strict=True):
            whole = attack.decode(errors="replace")
            assert agent.replace("\ufffd", "") == whole.replace("\ufffd", "") or len(attack) > 256


def test_successes_are_sampled_and_errors_and_slow_ones_never(start: Callable[..., Caller]) -> None:
    caller = start(access_log={"sample": 0.2, "slow_ms": 400})
    with connect(caller.hopwise.data, CLIENT) as wire:
        for number in range(500):
            wire.send(request("GET", ECHO, f"X-Call-Id: good-{number}"))
            assert wire.response().status == 200
        for number in range(20):
            wire.send(request("POST", "/function/status", f"X-Call-Id: bad-{number}", body=b"500"))
            assert wire.response("POST").status == 500
    slow = caller.call("/function/sleep?seconds=0.5")
    assert slow["total_ms"] >= 400
    ids = [line["call_id"] for line in lines(caller.path)]
    assert sum(id.startswith("bad-") for id in ids) == 20
    assert 50 <= sum(id.startswith("good-") for id in ids) <= 150


def test_it_is_rotated_and_changed_while_it_runs(start: Callable[..., Caller]) -> None:
    caller = start()
    caller.call()
    old = caller.path.with_suffix(".1")
    caller.path.rename(old)
    first = new_run()
    caller.hopwise.call("POST", ECHO, f"X-Call-Id: {first}", body=b"x")
    assert line_of(old, first)["status"] == 200
    caller.hopwise.reload_by_signal()
    eventually(caller.path.exists, "it is opened anew")
    assert caller.call()["status"] == 200
    assert len(lines(old)) == 2 and len(lines(caller.path)) == 1
    assert caller.path.stat().st_mode & 0o777 == 0o640
    # Off, and to where it cannot be: the one is followed, the other refused.
    config = caller.hopwise.config
    caller.hopwise.write({**config, "access_log": {"format": "off"}})
    caller.hopwise.json("POST", "/reload", admin=True)
    caller.hopwise.call("POST", ECHO, body=b"x")
    bad = {"format": "text", "path": "/nowhere/at/all.log"}
    caller.hopwise.write({**config, "access_log": bad})
    refused = caller.hopwise.call("POST", "/reload", admin=True)
    assert refused.status == 400 and b"access_log.path" in refused.body, refused.body
    caller.hopwise.write(config)
    caller.hopwise.json("POST", "/reload", admin=True)
    last = caller.call()
    assert [line["call_id"] for line in lines(caller.path)][1:] == [last["call_id"]]


def test_standard_output_and_the_last_lines_of_a_process(
    origin: Origin, start_hopwise: StartHopwise
) -> None:
    config = single_node(origin.address, access_log={"format": "text", "path": "-"})
    hopwise = start_hopwise(config)
    for _ in range(20):
        hopwise.call("POST", ECHO, body=b"x")
    assert hopwise.stop() == 0
    assert hopwise.output().count('] "POST /function/echo HTTP/1.1" 200 - via_upstream ') == 20


def test_nobody_waits_for_a_reader_who_does_not_read(
    start: Callable[..., Caller], tmp_path: Path
) -> None:
    fifo = tmp_path / "access.log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    caller = start()
    agent = "User-Agent: " + "\xff".join("x" * 120)
    message = request("GET", ECHO, "X-Call-Id: " + "y" * 250, agent, "X-Request-Id: " + "z" * 250)
    began = time.monotonic()

    def dropped() -> float:
        return caller.hopwise.metrics()["hopwise_access_log_dropped_total"]

    with connect(caller.hopwise.data, CLIENT) as wire:
        while dropped() == 0 and time.monotonic() - began < 60:
            wire.send(message * 200)
            for _ in range(200):
                wire.response()
    assert dropped() > 0
    assert caller.hopwise.call("POST", ECHO, body=b"x").status == 200
    os.close(reader)


def test_an_upgraded_connection_has_its_line_at_its_end(
    origin: Origin, start: Callable[..., Caller]
) -> None:
    caller = start()

    def echo(wire: Wire, received: Received) -> bool:
        wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        wire.send(wire.exactly(5))
        return False

    run = new_run()
    with connect(caller.hopwise.data, CLIENT) as wire:
        fields = ("Connection: Upgrade", "Upgrade: x", f"X-Call-Id: {run}", scripted(origin, echo))
        wire.send(request("GET", ECHO, *fields))
        assert wire.response_head().status == 101
        wire.send(b"hello")
        assert wire.exactly(5) == b"hello"
        assert not lines(caller.path)
    line = line_of(caller.path, run)
    assert (line["status"], line["bytes_received"], line["bytes_sent"]) == (101, 5, 5)


def test_http2_has_its_lines_too(start: Callable[..., Caller]) -> None:
    caller = start()
    host, port = caller.hopwise.data
    url = f"http://{host}:{port}{ECHO}"
    command = ["curl", "-s", "-m", "5", "--http2-prior-knowledge", "-H", "X-Call-Id: h2", "-d", "x", url]
    subprocess.run(command, check=True, capture_output=True)
    line = line_of(caller.path, "h2")
    assert (line["protocol"], line["path"], line["status"]) == ("HTTP/2", ECHO, 200)
    reset = struct.pack("ii", 1, 0)
    with connect(caller.hopwise.data, CLIENT) as wire:
        wire.send(request("POST", "/function/sleep?seconds=5", "X-Call-Id: reset", body=b"x"))
        time.sleep(0.2)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert line_of(caller.path, "reset")["flags"] == "DC"
