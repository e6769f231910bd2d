"""The calls of the HTTP contract, field by field, and what is refused."""

import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from origin import Origin
from support.exchange import new_run
from support.hopwise import CLIENT, Config, Hopwise, single_node
from support.netns import TwoHosts
from support.wait import eventually
from support.wire import Response, connect, fetch, raw_head

ENTRY = {"fn_name": "echo", "payload": "hello"}
LOAD_FIELDS = {
    "cpu_percent",
    "cpu_normalized",
    "load_1min",
    "load_5min",
    "load_15min",
    "memory_percent",
    "memory_available_gb",
    "disk_percent",
    "disk_free_gb",
    "in_flight",
    "timestamp",
}
OPERATOR_CALLS = [
    ("GET", "/load"),
    ("GET", "/arch_metrics"),
    ("GET", "/durations"),
    ("GET", "/configuration"),
    ("POST", "/reload"),
    ("POST", "/update_threshold"),
]
ONLY_ADMIN = ["/metrics", "/live", "/ready"]


def document(response: Response) -> Any:
    return json.loads(response.body)


def assert_error(response: Response, *statuses: int) -> Any:
    """An answer of ours: what is wrong, how to mend it, and by what id the log has it."""
    assert response.status in statuses, (response.start, response.body)
    assert (response.value("content-type") or "").startswith("application/json")
    found = document(response)
    assert {"error", "message", "request_id"} <= set(found)
    assert all(isinstance(found[k], str) and found[k] for k in ("error", "message", "request_id"))
    return found


def enter(proxy: Hopwise, body: object, path: str = "/entry") -> Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return proxy.call("POST", path, body=data)


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


BAD_NAMES = ["", ".", "..", "../system/functions", "a/b", "a b", "a%2Fb", "a\\b", "é", "a" * 64, "\0"]


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

    def nap(wire: Any, _: Any) -> bool:
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


@pytest.mark.parametrize("admin", [False, True])
def test_load(admin: bool, before_origin: Hopwise) -> None:
    found = before_origin.json("GET", "/load", admin=admin)
    assert set(found) >= LOAD_FIELDS
    assert all(isinstance(found[field], (int, float)) for field in LOAD_FIELDS)
    for share in ("cpu_percent", "memory_percent", "disk_percent"):
        assert 0 <= found[share] <= 100, share
    assert found["memory_available_gb"] > 0 and found["disk_free_gb"] >= 0
    assert abs(found["timestamp"] - time.time()) < 60
    assert found["in_flight"] == 0


def test_load_counts_what_is_in_flight(origin: Origin, before_origin: Hopwise) -> None:
    with connect(before_origin.data, CLIENT) as wire:
        wire.send(raw_head("GET", "/function/sse"))
        wire.response_head()
        eventually(lambda: before_origin.json("GET", "/load")["in_flight"] == 1, "one in flight")
    eventually(lambda: before_origin.json("GET", "/load")["in_flight"] == 0, "none in flight")


@pytest.mark.parametrize("admin", [False, True])
def test_measurements(admin: bool, before_origin: Hopwise) -> None:
    for _ in range(12):
        assert before_origin.call("POST", "/function/measured").status == 200
    metrics = before_origin.json("GET", "/arch_metrics", admin=admin)
    assert metrics["functions"]["measured"]["qps"] > 0
    assert math.isclose(sum(metrics["functions"]["measured"]["shares"].values()), 1.0)
    per = metrics["functions"]["measured"]["architectures"]["decentralized"]
    assert per["count"] >= 12 and 0 < per["p50_s"] <= per["p95_s"]
    assert math.isclose(per["tail_ratio"], per["p95_s"] / per["p50_s"], rel_tol=1e-3)
    assert "edge1" in metrics["nodes"]
    durations = before_origin.json("GET", "/durations", admin=admin)
    assert len(durations["measured"]["decentralized"]) >= 12
    only = before_origin.json("GET", "/durations?fn_name=measured", admin=admin)
    assert set(only) == {"measured"}
    assert_error(before_origin.call("GET", "/durations?fn_name=..", admin=admin), 400)


@pytest.mark.parametrize("admin", [False, True])
def test_configuration(admin: bool, before_origin: Hopwise) -> None:
    found = before_origin.json("GET", "/configuration", admin=admin)
    assert found["generation"] >= 0
    assert found["mode"] == "decentralized"
    assert found["self"] == "edge1"
    (node,) = found["topology"]
    expected = before_origin.config["topology"][0]
    for field in ("id", "role", "zone", "address"):
        assert node[field] == expected[field]
    assert found["thresholds"] == {
        "soft_d2f": 1.5,
        "hard_d2f": 2.5,
        "soft_f2c": 1.7,
        "hard_f2c": 2.7,
    }


def test_configuration_shows_no_secret(
    origin: Origin, start_hopwise: Callable[..., Hopwise], tmp_path: Path
) -> None:
    secrets = {"peers": ("key_file", "k" * 40), "admin": ("token_file", "t" * 40)}
    changes: Config = {}
    for section, (key, secret) in secrets.items():
        file = tmp_path / section
        file.write_text(secret)
        file.chmod(0o600)
        changes[section] = {key: str(file)}
    proxy = start_hopwise(single_node(origin.address, **changes))
    for path in ("/configuration", "/arch_metrics", "/load"):
        text = proxy.call("GET", path).body.decode()
        assert "kkkk" not in text and "tttt" not in text
    assert "kkkk" not in proxy.output() and "tttt" not in proxy.output()


def test_update_threshold_by_curl_as_it_stands(before_gateway: Hopwise) -> None:
    host, port = before_gateway.data
    url = f"http://{host}:{port}/update_threshold"
    command = ["curl", "-sS", "-X", "POST", url, "-d", '{"soft_d2f": 1.2}']
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    found = json.loads(done.stdout)
    expected = {"soft_d2f": 1.2, "hard_d2f": 2.5, "soft_f2c": 1.7, "hard_f2c": 2.7}
    assert found.get("thresholds", found) == expected
    assert before_gateway.json("GET", "/configuration")["thresholds"] == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"soft_d2f": "1.2"}',
        b'{"soft_d2f": null}',
        b'{"soft_d2f": NaN}',
        b'{"soft_d2f": -1}',
        b'{"soft_d2f": 9}',
        b'{"hard_f2c": 0.1}',
        b'{"soft_d2f": 1.3, "unknown": 1}',
    ],
)
def test_a_bad_threshold_changes_nothing(body: bytes, before_origin: Hopwise) -> None:
    before = before_origin.json("GET", "/configuration")
    assert_error(before_origin.call("POST", "/update_threshold", body=body), 400)
    assert before_origin.json("GET", "/configuration") == before
    assert before_origin.call("GET", "/function/echo").status == 200


def test_reload_switches_the_mode(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address, role="cloud-controller"))
    for mode in ("federated", "centralized", "dynamic", "decentralized"):
        for admin in (False, True):
            before = proxy.json("GET", "/configuration")["generation"]
            found = proxy.json("POST", "/reload", {"architecture": mode}, admin=admin)
            after = proxy.json("GET", "/configuration")
            assert after["mode"] == mode
            assert found["generation"] == after["generation"] >= before
    for bad in (b'{"architecture": "x"}', b'{"architecture": 7}', b"[", b'{"arch": "federated"}'):
        assert_error(proxy.call("POST", "/reload", body=bad), 400)
    assert proxy.json("GET", "/configuration")["mode"] == "decentralized"


def test_reload_reads_the_file(origin: Origin, start_hopwise: Callable[..., Hopwise]) -> None:
    proxy = start_hopwise(single_node(origin.address, role="cloud-controller"))
    before = proxy.json("GET", "/configuration")
    changed = {**proxy.config, "architecture": "federated"}
    proxy.write({**changed, "tail_scheduler": {"soft_d2f_threshold": 1.25}})
    found = proxy.json("POST", "/reload")
    after = proxy.json("GET", "/configuration")
    assert found["generation"] == after["generation"] > before["generation"]
    assert after["mode"] == "federated" and after["thresholds"]["soft_d2f"] == 1.25
    assert "mode" in json.dumps(found) or "architecture" in json.dumps(found)


BAD_FILES: dict[str, Callable[[Config], Config | str]] = {
    "no YAML": lambda _: "architecture: [unclosed",
    "empty": lambda _: "",
    "unknown key": lambda c: {**c, "colour": "red"},
    "unknown mode": lambda c: {**c, "architecture": "anarchic"},
    "self elsewhere": lambda c: {**c, "node": {"id": "nobody"}},
    "duplicate id": lambda c: {**c, "topology": c["topology"] * 2},
    "soft above hard": lambda c: {**c, "tail_scheduler": {"soft_d2f_threshold": 9}},
    "wrong type": lambda c: {**c, "workers": "many"},
}


@pytest.mark.parametrize("how", ["call", "signal"])
def test_a_bad_file_changes_nothing_and_is_reported(
    how: str, origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address))
    before = proxy.json("GET", "/configuration")
    good = proxy.config
    for number, (name, spoil) in enumerate(BAD_FILES.items(), start=1):
        proxy.write(spoil(good))
        logged = len(proxy.output())
        if how == "call":
            found = assert_error(proxy.call("POST", "/reload"), 400, 409, 422, 500)
            assert found["message"], name
        else:
            proxy.reload_by_signal()

        def counted(number: int = number) -> bool:
            metrics = proxy.metrics()
            failures = metrics["hopwise_config_reload_failures_total"]
            return failures == number and metrics["hopwise_config_last_reload_successful"] == 0

        eventually(counted, f"{name} is counted")
        eventually(lambda logged=logged: len(proxy.output()) > logged, f"{name} is in the log")
        assert proxy.json("GET", "/configuration") == before, name
        assert proxy.call("GET", "/function/echo").status == 200
    proxy.file.unlink()
    assert_error(proxy.call("POST", "/reload"), 400, 404, 409, 422, 500)
    proxy.write(good)
    assert proxy.json("POST", "/reload")["generation"] >= before["generation"]
    assert proxy.metrics()["hopwise_config_last_reload_successful"] == 1


def test_pages_cannot_change_anything(before_origin: Hopwise) -> None:
    field = "Origin: http://evil.example"
    for admin in (False, True):
        for path, body in (("/reload", b""), ("/update_threshold", b'{"soft_d2f": 1.3}')):
            assert_error(before_origin.call("POST", path, field, body=body, admin=admin), 403)
    assert before_origin.json("GET", "/configuration")["thresholds"]["soft_d2f"] == 1.5


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


@pytest.fixture(scope="module")
def afar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TwoHosts, Hopwise, Origin]]:
    """A node and a caller on another host. The token is a secret of this test."""
    directory = tmp_path_factory.mktemp("afar")
    token = directory / "token"
    token.write_text("not-so-secret-0123456789\n")
    token.chmod(0o600)
    with TwoHosts() as hosts:
        origin = Origin("127.0.0.1", 31112, namespace=hosts.node)
        config = single_node(("127.0.0.1", 31112))
        config["topology"][0].update(address=TwoHosts.NODE, port=31113)
        config["listen"] = {"data": "0.0.0.0:31113", "admin": "0.0.0.0:31114"}
        config["admin"] = {"token_file": str(token)}
        proxy = Hopwise(config, directory, namespace=hosts.node)
        try:
            yield hosts, proxy, origin
        finally:
            proxy.stop()
            origin.stop()


@pytest.mark.parametrize("port", [31113, 31114])
@pytest.mark.parametrize(("method", "path"), OPERATOR_CALLS)
def test_operator_calls_from_afar_need_the_token(
    method: str, path: str, port: int, afar: tuple[TwoHosts, Hopwise, Origin]
) -> None:
    hosts, _, _ = afar
    address = (TwoHosts.NODE, port)
    body = b'{"soft_d2f": 1.4}' if path == "/update_threshold" else b""

    def call(*headers: str) -> Response:
        return fetch(address, method, path, *headers, body=body, namespace=hosts.client)

    assert_error(call(), 403)
    assert_error(call("Authorization: Bearer wrong"), 403)
    assert_error(call("Authorization: Basic not-so-secret-0123456789"), 403)
    assert call("Authorization: Bearer not-so-secret-0123456789").status == 200


def test_clients_from_afar_may_invoke(afar: tuple[TwoHosts, Hopwise, Origin]) -> None:
    hosts, _, origin = afar
    address = (TwoHosts.NODE, 31113)
    body = json.dumps(ENTRY).encode()
    assert fetch(address, "POST", "/entry", body=body, namespace=hosts.client).status == 200
    run = new_run()
    fields = ("hopwise-explain: 1", f"X-Run: {run}")
    response = fetch(address, "GET", "/function/echo", *fields, namespace=hosts.client)
    assert response.status == 200
    assert not [n for n, _ in response.headers if n.lower().startswith(b"hopwise")]
    assert origin.seen(run).value("x-forwarded-for") == TwoHosts.CLIENT


def test_callers_on_the_node_need_no_token(afar: tuple[TwoHosts, Hopwise, Origin]) -> None:
    _, proxy, _ = afar
    for port in (31113, 31114):
        for path in ("/load", "/configuration"):
            assert proxy.fetch(("127.0.0.1", port), "GET", path).status == 200


def test_the_admin_port_does_not_bind_wide_without_a_token(
    origin: Origin, tmp_path: Path
) -> None:
    config = single_node(origin.address)
    config["listen"]["admin"] = "0.0.0.0:" + config["listen"]["admin"].rpartition(":")[2]
    proxy = Hopwise(config, tmp_path, wait=False)
    try:
        assert proxy.process.wait(20) != 0
    finally:
        proxy.stop()
    assert "admin" in proxy.output()


def test_probes_and_metrics(before_origin: Hopwise) -> None:
    assert before_origin.call("GET", "/live", admin=True).status == 200
    assert before_origin.call("GET", "/ready", admin=True).status == 200
    text = before_origin.call("GET", "/metrics", admin=True).body.decode()
    for family in (
        "hopwise_client_aborts_total",
        "hopwise_config_generation",
        "hopwise_config_last_reload_successful",
        "hopwise_config_reload_failures_total",
    ):
        assert f"\n{family}" in text, family
    for line in text.splitlines():
        assert line.startswith("#") or len(line.rsplit(" ", 1)) == 2, line


def test_the_earlier_agents_client(before_gateway: Hopwise) -> None:
    """Its code as it is: it takes the fields nested in `resp` where that is an object, else flat."""
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
