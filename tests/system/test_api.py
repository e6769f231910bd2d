"""Invocations by the HTTP contract, field by field, and what is refused."""

import json
import math
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from origin import Origin, Received
from support.api import assert_error, document, enter
from support.hopwise import CLIENT, Hopwise, single_node
from support.wire import Wire, connect

ENTRY = {"fn_name": "echo", "payload": "hello"}
ONLY_ADMIN = ["/metrics", "/live", "/ready"]


def test_entry_runs_a_function(before_origin: Hopwise) -> None:
    response = enter(before_origin, {**ENTRY, "hop": 0, "tag": "t-1", "arch": "decentralized"})
    assert response.status == 200
    found = document(response)
    assert json.loads(found["resp"])["body"] == "hello"
    assert json.loads(found["resp"])["target"] == "/function/echo"
    assert json.loads(found["resp"])["method"] == "POST"
    assert found["status"] == "success"
    assert found["target_node"] == "edge1"
    assert found["execution_location"] == "local"
    assert found["architecture"] == "decentralized"
    assert found["hop"] == 0
    assert 0 <= found["architecture_time"] <= found["total_time"] < 20
    assert "message" not in found


@pytest.mark.parametrize(
    ("payload", "sent"),
    [
        ("text \u00e9\u4e16", "text \u00e9\u4e16"),
        ("", ""),
        ({"a": [1, 2.5, None]}, {"a": [1, 2.5, None]}),
        ([1, 2], [1, 2]),
        (7, 7),
        (True, True),
    ],
)
def test_entry_sends_strings_as_they_are_and_the_rest_as_json(
    payload: object, sent: object, before_origin: Hopwise
) -> None:
    found = document(enter(before_origin, {"fn_name": "echo", "payload": payload}))
    body = json.loads(found["resp"])["body"].encode("latin-1").decode()
    assert (body if isinstance(payload, str) else json.loads(body)) == sent


def test_entry_takes_any_content_type(before_origin: Hopwise) -> None:
    body = json.dumps(ENTRY).encode()
    for kind in ("application/x-www-form-urlencoded", "text/plain", "image/png", ""):
        field = f"Content-Type: {kind}"
        assert before_origin.call("POST", "/entry", field, body=body).status == 200


@pytest.mark.parametrize("code", [201, 400, 404, 418, 500, 503])
def test_entry_keeps_the_functions_status(code: int, before_origin: Hopwise) -> None:
    response = enter(before_origin, {"fn_name": "status", "payload": str(code)})
    assert response.status == code
    found = document(response)
    assert found["resp"] == "as asked"
    assert found["status"] == ("success" if code < 400 else "failed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b"\xff\xfe",
        {"payload": "no name"},
        {"fn_name": 7},
        {"fn_name": None},
        {**ENTRY, "arch": "anarchic"},
        {**ENTRY, "arch": 7},
        {**ENTRY, "hop": -1},
        {**ENTRY, "hop": 1.5},
        {**ENTRY, "hop": math.nan},
        {**ENTRY, "hop": "2"},
        {**ENTRY, "hop": 1e300},
        {**ENTRY, "deadline": "soon"},
        {**ENTRY, "deadline": math.nan},
        {**ENTRY, "deadline": math.inf},
    ],
    ids=lambda body: str(body)[:60],
)
@pytest.mark.parametrize("path", ["/entry", "/schedule"])
def test_malformed_invocations_are_400(
    path: str, body: object, controller: Hopwise, controller_origin: Origin
) -> None:
    before = len(controller_origin.received)
    assert_error(enter(controller, body, path), 400)
    assert len(controller_origin.received) == before, "nothing may run"


BAD_NAMES = [
    "",
    ".",
    "..",
    "../system/functions",
    "a/b",
    "a b",
    "a%2Fb",
    "a\\b",
    "é",
    "a" * 64,
    "\0",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
@pytest.mark.parametrize("path", ["/entry", "/schedule"])
def test_bad_function_names_are_400(
    path: str, name: str, controller: Hopwise, controller_origin: Origin
) -> None:
    before = len(controller_origin.received)
    assert_error(enter(controller, {"fn_name": name, "payload": ""}, path), 400)
    assert len(controller_origin.received) == before


@pytest.mark.parametrize("prefix", ["/function/", "/async-function/"])
@pytest.mark.parametrize(
    "tail",
    [
        "..",
        ".",
        "../system/functions",
        "%2e%2e/system/functions",
        "%2E%2E",
        "a%2fb",
        "a%5Cb",
        "a%00b",
        "echo/../../system/functions",
        "echo/./x",
        "echo/%2e%2E/x",
        "echo/a%2fb",
        "echo/a%2Fb",
        "echo/a%5cb",
        "echo/a%00b",
        "a" * 64,
        "a;b",
        "a+b",
    ],
)
def test_paths_that_lead_elsewhere_are_400(
    prefix: str, tail: str, origin: Origin, before_origin: Hopwise
) -> None:
    before = len(origin.received)
    assert_error(before_origin.call("GET", prefix + tail), 400)
    assert len(origin.received) == before, "nothing may reach the gateway"


def test_a_past_deadline_is_504_and_runs_nothing(origin: Origin, before_origin: Hopwise) -> None:
    before = len(origin.received)
    for deadline in (1, 0, -5, time.time() - 1):
        assert_error(enter(before_origin, {**ENTRY, "deadline": deadline}), 504)
    assert len(origin.received) == before
    assert enter(before_origin, {**ENTRY, "deadline": time.time() + 30}).status == 200


def test_a_deadline_that_passes_meanwhile_is_504(origin: Origin, before_origin: Hopwise) -> None:
    body = {"fn_name": "nap", "payload": "", "deadline": time.time() + 0.5}

    def nap(wire: Wire, _: Received) -> bool:
        return bool(wire.sock.recv(1) == b"never")

    origin.scripts[""] = nap
    try:
        assert_error(enter(before_origin, body), 504)
    finally:
        del origin.scripts[""]


def test_a_body_over_the_limit_is_413(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address, limits={"entry_body_bytes": 1000}))
    assert enter(proxy, {"fn_name": "sink", "payload": "x" * 900}).status == 200
    for path in ("/entry", "/reload", "/update_threshold"):
        response = proxy.call("POST", path, body=b" " * 1001)
        assert_error(response, 413)
        chunked = b"3e9\r\n" + b" " * 1001 + b"\r\n0\r\n\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        with connect(proxy.data, CLIENT) as wire:
            wire.send(head + chunked)
            assert wire.response().status == 413
    assert proxy.call("POST", "/function/echo", body=b" " * 5000).status == 200, "streams"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/entry"),
        ("PUT", "/entry"),
        ("GET", "/schedule"),
        ("POST", "/load"),
        ("DELETE", "/configuration"),
        ("GET", "/reload"),
        ("GET", "/update_threshold"),
        ("POST", "/durations"),
        ("POST", "/arch_metrics"),
    ],
)
def test_the_wrong_method_is_405(method: str, path: str, before_origin: Hopwise) -> None:
    for admin in (False, True):
        response = before_origin.call(method, path, admin=admin)
        assert_error(response, 405)
        assert response.value("allow")


def test_unknown_paths(before_origin: Hopwise) -> None:
    """On the data port they are the gateway's; on the admin port there is nothing else."""
    for path in ("/entry/", "/Load", "/configuration/x", "/nothing", *ONLY_ADMIN):
        assert document(before_origin.call("GET", path))["node"] == "origin"
    for path in ("/nothing", "/entry/"):
        assert_error(before_origin.call("GET", path, admin=True), 404)


@pytest.fixture(scope="module")
def controller_origin() -> Iterator[Origin]:
    started = Origin()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def controller(
    controller_origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hopwise]:
    """A node that may schedule for others."""
    config = single_node(controller_origin.address, role="edge-controller")
    started = Hopwise(config, tmp_path_factory.mktemp("controller"), name="controller")
    yield started
    started.stop()


def test_the_earlier_agents_client(before_gateway: Hopwise) -> None:
    """Its code as it is: the fields may be nested in `resp`, where that is an object, or flat."""
    host, port = before_gateway.data
    payload = {"n": 8}
    data = {"fn_name": "matrix", "payload": json.dumps(payload), "hop": 0}
    r = requests.post(f"http://{host}:{port}/entry", json=data, timeout=20).json()
    inner = r["resp"] if isinstance(r.get("resp"), dict) else r
    total_time = float(inner.get("total_time", r.get("total_time")))
    architecture = inner.get("architecture", r.get("architecture"))
    message = inner.get("message", r.get("message", ""))
    assert total_time > 0
    assert architecture == "decentralized"
    assert isinstance(message, str)
    assert json.loads(r["resp"])["n"] == 8 if isinstance(r["resp"], str) else r["resp"]["n"] == 8
