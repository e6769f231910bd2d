"""The tests' own tools: they must see no difference where there is none, and every one there is."""

import dataclasses

import pytest
import requests
from websockets.sync.client import connect as connect_websocket

from origin import Origin, answer
from support.cases import CASES, Case
from support.compare import comparable_request
from support.exchange import play
from support.gateway import Gateway
from support.wire import fetch, request


def test_there_are_enough_odd_requests() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_direct_equals_direct(case: Case, origin: Origin) -> None:
    first, second = play(case, origin.address, origin), play(case, origin.address, origin)
    assert first.as_request == second.as_request
    assert first.as_response == second.as_response


@pytest.mark.parametrize(
    ("change", "to"),
    [
        (request("GET", "/ui/a"), request("GET", "/ui/A")),
        (request("GET", "/a?"), request("GET", "/a")),
        (request("GET", "/", "X-a: 1"), request("GET", "/", "X-A: 1")),
        (request("GET", "/", "X-a: 1", "X-a: 2"), request("GET", "/", "X-a: 2", "X-a: 1")),
        (request("GET", "/", "X-a: 1", "X-a: 2"), request("GET", "/", "X-a: 1, 2")),
        (request("GET", "/"), request("GET", "/", "Accept: */*")),
        (request("POST", "/", body=b"a"), request("POST", "/", body=b"b")),
        (request("POST", "/"), request("POST", "/", "Content-Length: 0")),
    ],
)
def test_a_changed_request_is_seen(change: bytes, to: bytes, origin: Origin) -> None:
    before = play(Case("before", change), origin.address, origin)
    after = play(Case("after", to), origin.address, origin)
    assert before.as_request != after.as_request


@pytest.mark.parametrize(
    "other",
    [
        answer("200 OK", "x-a: 1", body=b"a"),
        answer("200 OK", "X-A: 1", "Date: now", body=b"a"),
        answer("200 Fine", "X-A: 1", body=b"a"),
        answer("200 OK", "X-A: 1", body=b"A"),
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\na\r\n0\r\nB: 1\r\n\r\n",
    ],
)
def test_a_changed_response_is_seen(other: bytes, origin: Origin) -> None:
    case = Case("before", request("GET", "/"), answer("200 OK", "X-A: 1", body=b"a"))
    changed = dataclasses.replace(case, response=other)
    before, after = (play(c, origin.address, origin) for c in (case, changed))
    assert before.as_response != after.as_response


def test_what_a_proxy_may_change_is_not_seen(origin: Origin) -> None:
    one = request("GET", "/", "X-A: 1", "X-B: 2", "Connection: X-C", "X-C: 3")
    two = request("GET", "/", "X-B: 2", "X-A: 1", "X-Forwarded-For: 127.0.0.99")
    first, second = (play(Case("", r), origin.address, origin) for r in (one, two))
    assert comparable_request(first.received) == comparable_request(second.received)


def test_the_real_gateway_serves_functions(gateway: Gateway) -> None:
    base = f"http://{gateway.host}:{gateway.port}"
    answer = requests.post(f"{base}/function/echo/a%20b?c=d", data=b"\0body", timeout=20)
    assert answer.status_code == 200
    assert answer.json()["target"] == "/function/echo/a%20b?c=d"
    assert answer.headers["X-Call-Id"] and answer.headers["X-Duration-Seconds"]
    kept = requests.get(f"{base}/function/echo", headers={"X-Call-Id": "mine"}, timeout=20)
    assert kept.headers["X-Call-Id"] == "mine"
    assert requests.get(f"{base}/function/status?code=418", timeout=20).status_code == 418
    assert requests.get(f"{base}/function/none", timeout=20).status_code == 404
    assert requests.post(f"{base}/async-function/echo", timeout=20).status_code == 202
    assert requests.get(f"{base}/healthz", timeout=20).text == "OK\n"
    assert "echo" in {
        f["name"] for f in requests.get(f"{base}/system/functions", timeout=20).json()
    }
    assert requests.get(f"{base}/function/matrix?n=4", timeout=20).json()["n"] == 4
    data = requests.get(f"{base}/function/binary?bytes=5000", timeout=20).content
    assert len(data) == 5000 and data[0] == 0
    assert len(requests.get(f"{base}/function/stream?bytes=300000", timeout=20).content) == 300_000


def test_the_real_gateway_serves_websockets(gateway: Gateway) -> None:
    with connect_websocket(f"ws://{gateway.host}:{gateway.port}/ws") as socket:
        socket.send("hello")
        assert socket.recv(timeout=10) == "hello"


def test_the_origin_answers_by_function(origin: Origin) -> None:
    assert fetch(origin.address, "GET", "/function/status?code=503").status == 503
    assert len(fetch(origin.address, "GET", "/function/zeros?bytes=70000").body) == 70_000
    response = fetch(origin.address, "POST", "/function/sink", body=b"x" * 1000)
    assert response.body == b'{"bytes": 1000}'
