"""A client of the gateway notices nothing: the same bytes direct and through hopwise."""

import threading
from collections.abc import Callable

import pytest
import requests

from origin import Origin, Received, Script, answer, read_body, scripted
from support.cases import CASES, ECHO, OK, Case, raw
from support.exchange import new_run, play
from support.gateway import Gateway
from support.hopwise import CLIENT, Hopwise, single_node
from support.wait import eventually
from support.wire import Response, Wire, connect, request, values

LENGTHS = ("Content-Length: 1", "Content-Length: 2")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_same_bytes(case: Case, origin: Origin, before_origin: Hopwise) -> None:
    direct = play(case, origin.address, origin)
    proxied = play(case, before_origin.data, origin)
    assert proxied.as_request == direct.as_request
    assert proxied.as_response == direct.as_response


def through(
    proxy: Hopwise, origin: Origin, message: bytes, script: Script | None = None
) -> tuple[Received, Response]:
    run = new_run()
    origin.scripts[run] = script or scripted(OK)
    with connect(proxy.data, CLIENT) as wire:
        wire.send(message.replace(b"\r\n", f"\r\nX-Run: {run}\r\n".encode(), 1))
        response = wire.response(message.split(b" ")[0].decode())
    return origin.seen(run), response


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], {"for": CLIENT, "host": "gateway.example", "proto": "http"}),
        (
            ["X-Forwarded-For: 192.0.2.1", "x-forwarded-for: 192.0.2.2"],
            {"for": f"192.0.2.1, 192.0.2.2, {CLIENT}", "host": "gateway.example", "proto": "http"},
        ),
        (
            ["X-Forwarded-Host: first.example", "X-Forwarded-Proto: https"],
            {"for": CLIENT, "host": "first.example", "proto": "https"},
        ),
    ],
)
def test_forwarded_fields_are_appended(
    sent: list[str], expected: dict[str, str], origin: Origin, before_origin: Hopwise
) -> None:
    received, _ = through(before_origin, origin, request("GET", ECHO, *sent))
    for name, value in expected.items():
        found = values(received.headers, f"x-forwarded-{name}")
        joined = b", ".join(found).decode()
        assert joined == value, f"X-Forwarded-{name.title()}: {found}"


def test_hop_by_hop_fields_end_here(origin: Origin, before_origin: Hopwise) -> None:
    """Comparing would not see it, because it leaves these fields out on both ways."""
    message = request(
        "GET", ECHO, "Connection: X-Foo, close", "X-Foo: 1", "Keep-Alive: a", "TE: gzip"
    )
    reply = answer("200 OK", "Connection: X-Bar", "X-Bar: 1", "Keep-Alive: b", "X-End: 1")
    received, response = through(before_origin, origin, message, scripted(reply))
    for gone in ("x-foo", "keep-alive", "te"):
        assert received.value(gone) is None, gone
    for gone in ("x-bar", "keep-alive"):
        assert response.value(gone) is None, gone
    assert response.value("x-end") == "1"


def test_internal_fields_of_clients_do_not_pass(origin: Origin, before_origin: Hopwise) -> None:
    fields = (
        "hopwise-call: hop=1, stage=execute, architecture=nonsense, deadline-ms=0",
        "HOPWISE-Call: via=edge1",
        "hopwise_call: via=edge1",
        "Hopwise-Stage: execute",
        "hopwise-report: node=edge1",
        "hopwise-signature: t=1, mac=00",
        "hopwiser: stays",
    )
    for target in (ECHO, "/system/functions"):
        received, response = through(before_origin, origin, request("GET", target, *fields))
        assert response.status == 200
        names = [name.lower() for name, _ in received.headers]
        assert [n for n in names if n.startswith(b"hopwise")] == [b"hopwiser"]


def test_internal_fields_do_not_pass_as_trailers(origin: Origin, before_origin: Hopwise) -> None:
    message = raw(
        f"POST {ECHO} HTTP/1.1",
        "Host: gateway.example",
        "TE: trailers",
        "Connection: TE",
        "Transfer-Encoding: chunked",
        "Trailer: X-Sum, hopwise-call",
        body=b"3\r\nabc\r\n0\r\nX-Sum: 6\r\nhopwise-call: hop=1\r\n\r\n",
    )
    reply = raw(
        "HTTP/1.1 200 OK",
        "Trailer: X-Sum, hopwise-node",
        "Transfer-Encoding: chunked",
        body=b"3\r\nabc\r\n0\r\nX-Sum: 9\r\nhopwise-node: liar\r\n\r\n",
    )
    received, response = through(before_origin, origin, message, scripted(reply))
    for trailers in (received.trailers, response.trailers):
        assert [name.lower() for name, _ in trailers] == [b"x-sum"]


def test_a_client_sees_no_internal_fields(origin: Origin, before_origin: Hopwise) -> None:
    reply = answer("200 OK", "hopwise-node: liar", "hopwise_hop: 7", "hopwise-report: node=liar")
    for target in (ECHO, "/healthz"):
        _, response = through(before_origin, origin, request("GET", target), scripted(reply))
        assert not [n for n, _ in response.headers if n.lower().startswith(b"hopwise")]


def test_a_local_client_can_ask_who_ran_it(origin: Origin, before_origin: Hopwise) -> None:
    _, response = through(before_origin, origin, request("GET", ECHO, "hopwise-explain: 1"))
    assert response.value("hopwise-node") == "edge1"
    assert response.value("hopwise-architecture") == "decentralized"
    assert response.value("hopwise-hop") == "0"
    assert response.value("hopwise-load")


def test_pipelined_requests_are_answered_in_order(origin: Origin, before_origin: Hopwise) -> None:
    runs = [new_run() for _ in range(8)]
    for run in runs:
        origin.scripts[run] = scripted(answer("200 OK", body=run.encode()))
    messages = [request("POST", ECHO, f"X-Run: {run}", body=run.encode()) for run in runs]
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(b"".join(messages[:4]))
        wire.send(b"".join(messages[4:]))
        responses = [wire.response() for _ in runs]
    assert [r.body for r in responses] == [run.encode() for run in runs]
    assert [origin.seen(run).body for run in runs] == [run.encode() for run in runs]


def test_keep_alive_is_kept(origin: Origin, before_origin: Hopwise) -> None:
    with connect(before_origin.data, CLIENT) as wire:
        for _ in range(50):
            wire.send(request("GET", ECHO))
            assert wire.response().status == 200


@pytest.mark.parametrize(
    ("version", "fields", "stays_open"),
    [
        ("1.1", [], True),
        ("1.1", ["Connection: close"], False),
        ("1.0", [], False),
        ("1.0", ["Connection: keep-alive"], True),
    ],
)
def test_the_connection_stays_as_the_client_asked(
    version: str, fields: list[str], stays_open: bool, origin: Origin, before_origin: Hopwise
) -> None:
    message = raw(f"GET {ECHO} HTTP/{version}", "Host: a", *fields)
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(message)
        assert wire.response().status == 200
        if stays_open:
            wire.send(message)
            assert wire.response().status == 200
        else:
            assert wire.is_closed_by_peer()


def test_an_old_client_gets_no_chunks(origin: Origin, before_origin: Hopwise) -> None:
    chunked = raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"2\r\nab\r\n0\r\n\r\n")
    message = raw(f"GET {ECHO} HTTP/1.0", "Host: a")
    _, response = through(before_origin, origin, message, scripted(chunked))
    assert response.value("transfer-encoding") is None
    assert response.body == b"ab"


def expecting(run: str) -> bytes:
    fields = (f"X-Run: {run}", "Expect: 100-continue", "Content-Length: 4")
    return raw(f"POST {ECHO} HTTP/1.1", "Host: a", *fields)


def agree(wire: Wire, received: Received) -> bool:
    wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    read_body(wire, received)
    wire.send(OK)
    return True


def test_expect_is_agreed_to(origin: Origin, before_origin: Hopwise) -> None:
    for address in (origin.address, before_origin.data):
        run = new_run()
        origin.scripts[run] = agree
        with connect(address, CLIENT) as wire:
            wire.send(expecting(run))
            assert wire.line() == b"HTTP/1.1 100 Continue"
            assert wire.fields() == []
            wire.send(b"body")
            assert wire.response().body == b"ok\n"
        assert origin.seen(run).body == b"body"


@pytest.mark.parametrize("status", ["417 Expectation Failed", "401 Unauthorized"])
def test_expect_is_refused_before_the_body(
    status: str, origin: Origin, before_origin: Hopwise
) -> None:
    def refuse(wire: Wire, _: Received) -> bool:
        wire.send(answer(status, "Connection: close", body=b"no"))
        return False

    for address in (origin.address, before_origin.data):
        run = new_run()
        origin.scripts[run] = refuse
        with connect(address, CLIENT) as wire:
            wire.send(expecting(run))
            response = wire.response()
        assert response.informational == [], "a 100 that the gateway never sent"
        assert response.start == f"HTTP/1.1 {status}".encode()
        assert response.body == b"no"


def test_an_early_answer_arrives_while_the_body_is_sent(
    origin: Origin, before_origin: Hopwise
) -> None:
    def early(wire: Wire, _: Received) -> bool:
        wire.send(answer("413 Content Too Large", "Connection: close", body=b"enough"))
        return False

    run = new_run()
    origin.scripts[run] = early
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw(f"POST {ECHO} HTTP/1.1", "Host: a", f"X-Run: {run}", "Content-Length: 999"))
        assert wire.response().start == b"HTTP/1.1 413 Content Too Large"


def test_trailers_pass_both_ways(origin: Origin, before_origin: Hopwise) -> None:
    by_name = {case.name: case for case in CASES}
    asked = play(by_name["request_trailers"], before_origin.data, origin)
    assert asked.as_request.trailers == {b"x-sum": [b"6"], b"x-other": [b"a, b"]}
    answered = play(by_name["response_trailers"], before_origin.data, origin)
    assert answered.as_response.trailers == {b"x-sum": [b"9"]}


@pytest.mark.parametrize(
    "broken",
    [
        raw(f"POST {ECHO} HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
        raw(f"POST {ECHO} HTTP/1.1", "Host: a", *LENGTHS, body=b"a"),
        raw(f"POST {ECHO} HTTP/1.1", "Host: a", "Content-Length: -1"),
        raw(f"GET {ECHO} HTTP/1.1"),
        raw(f"GET {ECHO} HTTP/1.1", "Host: a", "Host: b"),
        raw(f"GET {ECHO} HTTP/1.1", "Host: a", "Bad Name: b"),
        raw("nonsense"),
    ],
)
def test_malformed_messages_are_refused(
    broken: bytes, origin: Origin, before_origin: Hopwise
) -> None:
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(broken)
        assert wire.response().status == 400


def test_a_gateway_that_is_away_is_502_and_comes_back(
    start_hopwise: Callable[..., Hopwise],
) -> None:
    first = Origin()
    proxy = start_hopwise(single_node(first.address))
    assert proxy.call("GET", ECHO).status == 200
    first.stop()
    for received in list(first.received):
        assert received.method == "GET"
    away = Origin()
    away.stop()
    lonely = start_hopwise(single_node(away.address))
    response = lonely.call("GET", "/healthz")
    assert response.status == 502
    assert b"request_id" in response.body
    back = Origin(port=away.port)
    eventually(lambda: lonely.call("GET", ECHO).status == 200, "the gateway is used again")
    back.stop()


def test_a_reused_connection_that_died_is_not_the_clients_problem(
    origin: Origin, before_origin: Hopwise
) -> None:
    """The gateway closes idle connections; the next request goes over a new one."""

    def then_close(wire: Wire, received: Received) -> bool:
        read_body(wire, received)
        wire.send(OK)
        return False

    for number in range(30):
        run = new_run()
        origin.scripts[run] = then_close
        response = before_origin.call("POST", ECHO, f"X-Run: {run}", body=b"x" * (number + 1))
        assert response.status == 200, response.body


def test_many_at_once_get_their_own_answers(origin: Origin, before_origin: Hopwise) -> None:
    wrong: list[str] = []

    def client(index: int) -> None:
        for number in range(40):
            mark = f"{index}-{number}"
            response = before_origin.call("POST", f"{ECHO}/{mark}", body=mark.encode())
            if f'"/function/echo/{mark}"'.encode() not in response.body:
                wrong.append(mark)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_real_gateway_through_hopwise(gateway: Gateway, before_gateway: Hopwise) -> None:
    """What a Python client of the gateway sees, with what nginx and the runtime really do."""
    calls = [
        ("POST", "/function/echo/a%20b?c=d&c=e", b"\0\xff" * 500),
        ("PUT", "/function/echo", b""),
        ("GET", "/function/binary?bytes=70001", b""),
        ("GET", "/function/status?code=204", b""),
        ("GET", "/function/status?code=503", b""),
        ("HEAD", "/function/binary?bytes=100", b""),
        ("GET", "/function/matrix?n=16", b""),
        ("POST", "/async-function/echo", b"later"),
        ("GET", "/system/functions", b""),
        ("GET", "/healthz", b""),
        ("GET", "/ui/", b""),
        ("GET", "/function/none", b""),
    ]
    changing = {"date", "x-duration-seconds", "x-start-time", "connection", "transfer-encoding"}
    with requests.Session() as session:
        for method, target, body in calls:
            seen = []
            for host, port in (gateway.address, before_gateway.data):
                url = f"http://{host}:{port}{target}"
                fields = {"X-Call-Id": "call-7", "Host": "gateway.example"}
                got = session.request(method, url, data=body, headers=fields, timeout=20)
                head = {k: v for k, v in got.headers.items() if k.lower() not in changing}
                if "/echo" in target and got.content and method != "HEAD":
                    document = got.json()
                    document.pop("headers")
                    head.pop("Content-Length", None)
                    seen.append((got.status_code, got.reason, head, document))
                else:
                    seen.append((got.status_code, got.reason, head, got.content))
                if target.startswith("/function/"):
                    assert "X-Duration-Seconds" in got.headers and "X-Start-Time" in got.headers
                    assert got.headers["X-Call-Id"] == "call-7"
            assert seen[0] == seen[1], (method, target)
