"""What operators ask and change, from near and from afar."""

import json
import os
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from origin import Origin
from support.api import assert_error
from support.certificates import Authority
from support.exchange import new_run
from support.hopwise import CLIENT, Config, Hopwise, single_node
from support.netns import TwoHosts
from support.wait import eventually
from support.wire import Response, connect, fetch, raw_head

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
    ("GET", "/decisions"),
    ("GET", "/configuration"),
    ("POST", "/reload"),
    ("POST", "/update_threshold"),
]


@pytest.mark.parametrize("admin", [False, True])
def test_load(admin: bool, before_origin: Hopwise) -> None:
    def sampled() -> Any:
        document = before_origin.json("GET", "/load", admin=admin)
        return document if document["memory_available_gb"] > 0 else None

    found = eventually(sampled, "the first sample is there")
    assert set(found) >= LOAD_FIELDS
    assert all(isinstance(found[field], (int, float)) for field in LOAD_FIELDS)
    # Of one core, so of several it can be more.
    assert 0 <= found["cpu_percent"] <= 100 * os.cpu_count()
    for share in ("memory_percent", "disk_percent"):
        assert 0 <= found[share] <= 100, share
    assert found["disk_free_gb"] >= 0
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


def test_reload_switches_the_mode(origin: Origin, start_hopwise: Callable[..., Hopwise]) -> None:
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
    # Another mode does not make the file good, and a bad threshold does not make it bad.
    proxy.json("POST", "/reload", {"architecture": "federated"})
    assert proxy.metrics()["hopwise_config_last_reload_successful"] == 0
    proxy.write(good)
    assert proxy.json("POST", "/reload")["generation"] >= before["generation"]
    assert_error(proxy.call("POST", "/update_threshold", body=b'{"soft_d2f": 9}'), 400)
    assert proxy.metrics()["hopwise_config_last_reload_successful"] == 1


def test_what_takes_a_restart_stays_told_and_out_of_force(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address))
    good, in_force = proxy.config, proxy.json("GET", "/config_dump", admin=True)["configuration"]
    proxy.write({**good, "workers": 5})
    for _ in range(2):
        assert proxy.json("POST", "/reload")["restart_needed"] == ["workers"]
        shown = proxy.json("GET", "/config_dump", admin=True)["configuration"]
        assert shown["workers"] == in_force["workers"] != 5
    proxy.write(good)
    assert proxy.json("POST", "/reload")["restart_needed"] == []


def test_a_page_that_was_led_here_reads_nothing(before_origin: Hopwise) -> None:
    led = {"host": "evil.example:31114"}
    for path, admin in (("/config_dump", True), ("/metrics", True), ("/load", False)):
        refused = assert_error(before_origin.call("GET", path, admin=admin, **led), 403)
        assert "localhost" in refused["message"]
        for host in ("localhost", "127.0.0.1:31114", "[::1]:31114"):
            assert before_origin.call("GET", path, admin=admin, host=host).status == 200
    assert before_origin.call("GET", "/live", admin=True, **led).status == 200


def test_a_wide_admin_port_may_be_kept_by_certificates(
    origin: Origin, tmp_path: Path, start_hopwise: Callable[..., Hopwise]
) -> None:
    issued = Authority(tmp_path).issue("edge1")
    config = single_node(origin.address)
    config["listen"]["admin"] = config["listen"]["admin"].replace("127.0.0.1", "0.0.0.0")
    config["admin"] = {"tls": issued.section()}
    proxy = start_hopwise(config)
    assert proxy.call("GET", "/function/echo").status == 200


def test_pages_cannot_change_anything(before_origin: Hopwise) -> None:
    field = "Origin: http://evil.example"
    for admin in (False, True):
        for path, body in (("/reload", b""), ("/update_threshold", b'{"soft_d2f": 1.3}')):
            assert_error(before_origin.call("POST", path, field, body=body, admin=admin), 403)
    assert before_origin.json("GET", "/configuration")["thresholds"]["soft_d2f"] == 1.5


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


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_admin_token_goes_no_further(
    scheme: str, afar: tuple[TwoHosts, Hopwise, Origin]
) -> None:
    hosts, proxy, origin = afar
    shown = f"Authorization: {scheme} not-so-secret-0123456789"
    other = "Authorization: Bearer for-the-function"
    address = (TwoHosts.NODE, 31113)
    body = b'{"fn_name": "echo", "payload": "hello"}'
    for method, path, sent in (("GET", "/function/echo", b""), ("POST", "/entry", body)):
        for field, kept in ((shown, None), (other, "Bearer for-the-function")):
            run = new_run()
            fields = (field, f"X-Run: {run}")
            response = fetch(address, method, path, *fields, body=sent, namespace=hosts.client)
            assert response.status == 200
            assert origin.seen(run).value("authorization") == kept
    assert "not-so-secret" not in proxy.output()


def test_clients_from_afar_may_invoke(afar: tuple[TwoHosts, Hopwise, Origin]) -> None:
    hosts, _, origin = afar
    address = (TwoHosts.NODE, 31113)
    body = b'{"fn_name": "echo", "payload": "hello"}'
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
            assert proxy.fetch(("127.0.0.1", port), "GET", path, host="localhost").status == 200


def test_the_admin_port_does_not_bind_wide_without_a_token(origin: Origin, tmp_path: Path) -> None:
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
