"""What RFC 9110 and 9112 demand of an intermediary, message by message, on raw sockets."""

import contextlib
import json

import pytest

from conftest import StartHopwise
from origin import Origin, scripted
from support.cases import OK, raw
from support.exchange import new_run
from support.hopwise import CLIENT, Hopwise, single_node
from support.wire import Closed, Response, connect, request

ECHO = "/function/echo"
POST = f"POST {ECHO} HTTP/1.1"
SMUGGLED = b"GET /system/functions HTTP/1.1\r\nHost: a\r\n\r\n"


def chunked(body: bytes) -> bytes:
    return raw(POST, "Host: a", "Transfer-Encoding: chunked", body=body)


def fields(*lines: str) -> bytes:
    return raw(f"GET {ECHO} HTTP/1.1", "Host: a", *lines)


REFUSED = {
    "no host": raw(f"GET {ECHO} HTTP/1.1"),
    "two hosts": fields("Host: a"),
    "a host that is none": raw(f"GET {ECHO} HTTP/1.1", "Host: a b"),
    "a host with a user": raw(f"GET {ECHO} HTTP/1.1", "Host: user@a"),
    "two lengths": raw(POST, "Host: a", "Content-Length: 1", "Content-Length: 2", body=b"ab"),
    "a list of lengths": raw(POST, "Host: a", "Content-Length: 1, 2", body=b"ab"),
    "a signed length": raw(POST, "Host: a", "Content-Length: +1", body=b"a"),
    "a negative length": raw(POST, "Host: a", "Content-Length: -1", body=b"a"),
    "a length in hexadecimal": raw(POST, "Host: a", "Content-Length: 0x1", body=b"a"),
    "an empty length": raw(POST, "Host: a", "Content-Length:", body=b"a"),
    "a length beyond all bounds": raw(POST, "Host: a", f"Content-Length: {1 << 80}", body=b"a"),
    "chunked not last": raw(POST, "Host: a", "Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "chunked twice": raw(POST, "Host: a", "Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "two codings": raw(POST, "Host: a", *["Transfer-Encoding: chunked"] * 2, body=b"0\r\n\r\n"),
    "an unknown coding": raw(POST, "Host: a", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a coding behind a vertical tab": raw(
        POST, "Host: a", "Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n"
    ),
    "a coding in HTTP/1.0": raw(
        f"POST {ECHO} HTTP/1.0", "Host: a", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "a folded field": fields("X-A: b", " c"),
    "a folded first field": raw(f"GET {ECHO} HTTP/1.1", " Host: a"),
    "a space before the colon": fields("X-A : b"),
    "a field without a name": fields(": b"),
    "a field without a colon": fields("X-A"),
    "NUL in a value": fields("X-A: b\0c"),
    "NUL in a name": fields("X\0A: b"),
    "CR in a value": fields("X-A: b\rc"),
    "a chunk size that is none": chunked(b"zz\r\nab\r\n0\r\n\r\n"),
    "a chunk size with a sign": chunked(b"+2\r\nab\r\n0\r\n\r\n"),
    "a chunk size beyond all bounds": chunked(b"fffffffffffffffff\r\nab\r\n0\r\n\r\n"),
    "a chunk longer than it says": chunked(b"1\r\nab\r\n0\r\n\r\n"),
    "a chunk without its end": chunked(b"2\r\nabXX0\r\n\r\n"),
    "NUL in a path": raw(f"GET {ECHO}/a\0b HTTP/1.1", "Host: a"),
    "a path without a slash": raw("GET function/echo HTTP/1.1", "Host: a"),
    "an unknown version": raw(f"GET {ECHO} HTTP/1.2", "Host: a"),
    "two spaces": raw(f"GET  {ECHO} HTTP/1.1", "Host: a"),
    "nothing but words": raw("hello world"),
}


@pytest.mark.parametrize("broken", REFUSED.values(), ids=REFUSED.keys())
def test_what_can_be_read_in_two_ways_is_refused(
    broken: bytes, origin: Origin, before_origin: Hopwise
) -> None:
    """Refused, and closed: what follows might be part of it."""
    earlier = len(origin.received)
    completed = sum(received.complete for received in origin.received)
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(broken + SMUGGLED)
        assert wire.response().status in (400, 501)
        with contextlib.suppress(ConnectionResetError):
            assert wire.rest() == b"", "nothing behind it is answered"
    passed = [r for r in origin.received[earlier:] if r.target.startswith("/system")]
    assert passed == []
    # A body that breaks off later has begun to pass, and is cut there.
    assert sum(received.complete for received in origin.received) == completed


def seen(
    origin: Origin, proxy: Hopwise, message: bytes, reply: bytes = OK
) -> tuple[object, Response, bool]:
    """What reached the gateway, what came back, and whether the connection was closed after it."""
    run = new_run()
    origin.scripts[run] = scripted(reply)
    with connect(proxy.data, CLIENT, timeout=5) as wire:
        wire.send(message.replace(b"\r\n", f"\r\nX-Run: {run}\r\n".encode(), 1))
        response = wire.response(message.split(b" ")[0].decode())
        try:
            closed = wire.is_closed_by_peer()
        except TimeoutError:
            closed = False
    return origin.by_run.get(run), response, closed


def test_chunked_overrules_a_length_and_ends_the_connection(
    origin: Origin, before_origin: Hopwise
) -> None:
    """RFC 9112, 6.3: the length goes, and nothing that follows is trusted."""
    both = ("Content-Length: 3", "Transfer-Encoding: chunked")
    for framing in (both, both[::-1]):
        message = raw(POST, "Host: a", *framing, body=b"2\r\nab\r\n0\r\n\r\n")
        received, response, closed = seen(origin, before_origin, message)
        if response.status == 200:
            assert received[0].value("content-length") is None
            assert received[0].body == b"ab"
            assert closed
        else:
            assert response.status == 400


def test_bare_line_feeds_do_not_pass(origin: Origin, before_origin: Hopwise) -> None:
    """A recipient may take a bare LF for a line's end (RFC 9112, 2.2), but passes CRLF on."""
    run = new_run()
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(f"GET {ECHO} HTTP/1.1\nHost: a\nX-Run: {run}\nX-A: b\n\n".encode())
        status = wire.response().status
    if status == 200:
        assert origin.seen(run).value("x-a") == "b"
    else:
        assert status == 400 and run not in origin.by_run


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (fields(*[f"X-{n}: 1" for n in range(200)]), 431),
        (fields("X-Long: " + "x" * 600_000), 431),
        (raw(f"GET {ECHO}?{'x' * 70_000} HTTP/1.1", "Host: a"), 414),
    ],
    ids=["fields", "bytes", "target"],
)
def test_heads_are_bounded(head: bytes, status: int, before_origin: Hopwise) -> None:
    with connect(before_origin.data, CLIENT) as wire:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            wire.send(head)
        assert wire.response().status == status


def test_a_body_that_is_read_whole_is_bounded(origin: Origin, start_hopwise: StartHopwise) -> None:
    hopwise = start_hopwise(single_node(origin.address, limits={"entry_body_bytes": 100}))
    for framing, body in (("Content-Length: 101", b"x" * 101), ("Transfer-Encoding: chunked", b"")):
        with connect(hopwise.data, CLIENT) as wire:
            chunks = body or b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"
            wire.send(raw("POST /entry HTTP/1.1", "Host: a", framing, body=chunks))
            response = wire.response("POST")
            assert response.status == 413
            assert json.loads(response.body)["error"] == "body_too_large"


def test_connect_is_not_served(before_origin: Hopwise) -> None:
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw("CONNECT a:80 HTTP/1.1", "Host: a:80"))
        response = wire.response()
        assert response.status == 405 and response.value("allow")


def test_an_absolute_target_overrules_the_host(origin: Origin, before_origin: Hopwise) -> None:
    message = raw(f"GET http://b.example:81{ECHO}?a=1 HTTP/1.1", "Host: a")
    received, response, _ = seen(origin, before_origin, message)
    assert response.status == 200
    assert received[0].target == f"{ECHO}?a=1"
    assert received[0].value("host") == "b.example:81"


def test_an_upgrade_that_is_not_of_this_connection_does_not_pass(
    origin: Origin, before_origin: Hopwise
) -> None:
    received, response, _ = seen(origin, before_origin, fields("Upgrade: websocket"))
    assert response.status == 200
    assert received[0].value("upgrade") is None


BAD_ANSWERS = {
    "no status": raw("hello"),
    "a status that is none": raw("HTTP/1.1 abc OK", "Content-Length: 0"),
    "an unknown version": raw("HTTP/3.7 200 OK", "Content-Length: 0"),
    "two lengths": raw("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2", body=b"ab"),
    "a signed length": raw("HTTP/1.1 200 OK", "Content-Length: +1", body=b"a"),
    "a negative length": raw("HTTP/1.1 200 OK", "Content-Length: -1"),
    "NUL in a value": raw("HTTP/1.1 200 OK", "X-A: b\0c", "Content-Length: 0"),
    "a space before the colon": raw("HTTP/1.1 200 OK", "X-A : b", "Content-Length: 0"),
    "a folded field": raw("HTTP/1.1 200 OK", "X-A: b", " c", "Content-Length: 0"),
    "protocols switched unasked": raw("HTTP/1.1 101 Switching", "Upgrade: a", "Connection: Upgrade"),
    "too many fields": raw("HTTP/1.1 200 OK", *[f"X-{n}: 1" for n in range(200)]),
}


@pytest.mark.parametrize("reply", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
def test_an_answer_that_makes_no_sense_is_502(
    reply: bytes, origin: Origin, before_origin: Hopwise
) -> None:
    run = new_run()
    origin.scripts[run] = scripted(reply, keep_alive=False)
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(request("POST", ECHO, f"X-Run: {run}", body=b"x"))
        response = wire.response("POST")
        assert (response.status, response.value("hopwise-refusal")) == (502, "bad_gateway")
        # Its connection is not used again, and the client's is as good as ever.
        wire.send(request("POST", ECHO, body=b"x"))
        assert wire.response("POST").status == 200
    assert len(origin.by_run[run]) == 1, "nothing is sent twice for an answer that makes no sense"


@pytest.mark.parametrize(
    "reply",
    [
        raw("HTTP/1.1 200 OK", "Content-Length: 9", body=b"cut"),
        raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"3\r\ncut\r\n"),
        raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"3\r\ncut\r\nzz\r\n"),
    ],
    ids=["length", "chunks", "bad chunk"],
)
def test_an_answer_that_is_cut_is_cut_for_the_client(
    reply: bytes, origin: Origin, before_origin: Hopwise
) -> None:
    run = new_run()
    origin.scripts[run] = scripted(reply, keep_alive=False)
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(request("GET", ECHO, f"X-Run: {run}"))
        with pytest.raises((Closed, ConnectionResetError)):
            wire.response()


@pytest.mark.parametrize(
    "name",
    ["..", ".", "../system/functions", "%2e%2e", "a%2fb", "a/b", "a\\b", "a\0", "", "a b", "x" * 64],
)
def test_entry_leads_to_functions_only(name: str, origin: Origin, before_origin: Hopwise) -> None:
    before = len(origin.received)
    response = before_origin.call(
        "POST", "/entry", body=json.dumps({"fn_name": name, "payload": "x"}).encode()
    )
    assert response.status == 400
    assert len(origin.received) == before
