"""The admin port's own calls: what they show, what they change, and the document that tells of them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from origin import Origin
from support.api import assert_error
from support.cluster import IDS, Cluster
from support.hopwise import Hopwise, single_node
from support.wait import eventually

# Two end the process under test and have tests of their own here; the third never ends.
ENDS = "drain_listeners|quitquitquit|events"

# What no document can say: callers on this host need no token, a deadline may have passed, nobody may
# be there to run it, a soft threshold is at most the hard one, and a query stands in for a body.
EXCEPTIONS = """
[checks]
ignored_auth.enabled = false
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503, 504]

[[operations]]
include-path = "/update_threshold"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/logging"
include-method = "POST"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
"""


def state(proxy: Hopwise) -> tuple[str, str]:
    info = proxy.json("GET", "/server_info", admin=True)
    return info["state"], info["health_check"]


def test_server_info(before_origin: Hopwise) -> None:
    info = before_origin.json("GET", "/server_info", admin=True)
    assert (info["node"], info["state"], info["health_check"]) == ("edge1", "LIVE", "ok")
    assert info["process"] == before_origin.process.pid
    assert info["command_line"][1:3] == ["run", "--config"]
    later = before_origin.json("GET", "/server_info", admin=True)
    assert later["uptime_s"] >= info["uptime_s"] > 0


def test_they_are_the_gateways_on_the_data_port(origin: Origin, before_origin: Hopwise) -> None:
    for path in ("/healthz", "/clusters", "/server_info", "/openapi.json"):
        assert b"there is no" not in before_origin.call("GET", path).body


def test_a_failed_health_check_is_seen_and_drains_nobody(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address))
    assert proxy.json("POST", "/healthcheck/fail", admin=True)["health_check"] == "failed"
    for path in ("/ready", "/healthz"):
        assert_error(proxy.call("GET", path, admin=True), 503)
    assert proxy.call("GET", "/live", admin=True).status == 200
    assert state(proxy) == ("LIVE", "failed")
    answer = proxy.call("GET", "/function/echo")
    assert answer.status == 200 and answer.value("connection") != "close"
    proxy.json("POST", "/healthcheck/ok", admin=True)
    assert proxy.call("GET", "/healthz", admin=True).status == 200
    assert state(proxy) == ("LIVE", "ok")


def test_listeners_are_drained_and_the_process_stays(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address))
    assert proxy.json("POST", "/drain_listeners", admin=True)["state"] == "DRAINING"
    assert_error(proxy.call("GET", "/ready", admin=True), 503)

    def refused() -> bool:
        try:
            proxy.call("GET", "/function/echo")
        except OSError:
            return True
        return False

    eventually(refused, "new connections are refused")
    assert state(proxy)[0] == "DRAINING" and proxy.process.is_running()
    assert proxy.stop() == 0


def test_quitting_ends_it_as_a_signal_does(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address))
    for method, field in (("GET", ""), ("POST", "Origin: http://evil.example")):
        fields = [field] if field else []
        assert proxy.call(method, "/quitquitquit", *fields, admin=True).status in (403, 405)
    assert_error(proxy.call("POST", "/quitquitquit", body=b'{"now": 1}', admin=True), 400)
    assert proxy.process.is_running()
    assert proxy.json("POST", "/quitquitquit", admin=True)["state"] == "DRAINING"
    eventually(lambda: not proxy.process.is_running(), "it has ended")
    assert proxy.stop() == 0


def test_the_log_is_changed_while_it_runs(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address))
    assert proxy.json("GET", "/logging", admin=True) == {"level": "info"}
    refusals = proxy.output().count("DEBUG")
    assert_error(proxy.call("POST", "/logging?level=loud", admin=True), 400)
    assert_error(proxy.call("POST", "/logging", admin=True), 400)
    assert proxy.json("GET", "/logging", admin=True) == {"level": "info"}
    assert proxy.output().count("DEBUG") == refusals == 0
    assert proxy.json("POST", "/logging?level=debug", admin=True) == {"level": "debug"}
    proxy.call("GET", "/nowhere", admin=True)
    eventually(lambda: "DEBUG" in proxy.output(), "debug lines are logged")
    directive = "warn,hopwise::proxy=debug"
    found = proxy.json("POST", "/logging", {"level": directive}, admin=True)
    assert set(found["level"].split(",")) == set(directive.split(","))


def test_the_dump_can_be_loaded_again(before_origin: Hopwise, start_hopwise: Any) -> None:
    dump = before_origin.json("GET", "/config_dump", admin=True)
    configuration = dump["configuration"]
    assert configuration["timeouts"]["connect_ms"] == 1000
    assert configuration["topology"][0]["offload"]["cpu_thresh"] == 1.0
    assert configuration["listen"] == {**configuration["listen"], **before_origin.config["listen"]}
    again = single_node(("127.0.0.1", 1))
    configuration["listen"].update(again["listen"])
    configuration["topology"][0]["port"] = again["topology"][0]["port"]
    proxy = start_hopwise(configuration)
    assert proxy.json("GET", "/config_dump", admin=True)["configuration"] == configuration


def test_a_drained_node_gets_nothing_new_until_it_is_put_back(
    make_cluster: Callable[..., Cluster],
) -> None:
    cluster = make_cluster(architecture="centralized")
    cloud = cluster.nodes["cloud"]

    def nodes() -> dict[str, Any]:
        rows = cloud.json("GET", "/clusters", admin=True)["nodes"]
        return {row["id"]: row for row in rows}

    def ran_at(calls: int) -> set[str]:
        field = "hopwise-explain: 1"
        answers = [cloud.call("GET", "/function/echo", field) for _ in range(calls)]
        assert {answer.status for answer in answers} == {200}
        return {answer.value("hopwise-node") for answer in answers}

    assert nodes()["cloud"]["self"] and not nodes()["edge1"]["self"]
    assert nodes()["edge4"]["role"] == "worker" and nodes()["edge4"]["zone"] == "edge-B"
    others = [node for node in IDS if node != "edge4"]
    for node in others:
        found = cloud.json("POST", f"/nodes/{node}/drain", admin=True)
        assert found["node"] == node and found["drained"] is True
    assert ran_at(10) == {"edge4"}
    rows = nodes()
    assert {id for id, row in rows.items() if row["health"] == "draining"} == set(others)
    assert rows["edge4"]["network_s"] > 0 and rows["edge4"]["completion_s"] > 0
    assert rows["edge4"]["service_s"] > 0 and rows["edge4"]["in_flight"] is not None
    cloud.json("POST", "/reload")
    assert ran_at(5) == {"edge4"} and nodes()["edge1"]["draining"]
    for node in others:
        cloud.json("POST", f"/nodes/{node}/undrain", admin=True)
    cloud.json("POST", "/nodes/edge4/drain", admin=True)
    assert "edge4" not in ran_at(10)
    assert_error(cloud.call("POST", "/nodes/nobody/drain", admin=True), 404)


def test_the_document_describes_what_is_answered(
    origin: Origin, start_hopwise: Callable[..., Hopwise], tmp_path: Path
) -> None:
    """schemathesis makes requests, good and bad, from the document and holds the answers against it."""
    proxy = start_hopwise(single_node(origin.address, role="cloud-controller"))
    document = proxy.json("GET", "/openapi.json", admin=True)
    assert document["openapi"].startswith("3.1")
    host, port = proxy.admin
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(document))
    (tmp_path / "schemathesis.toml").write_text(EXCEPTIONS)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", str(schema)),
        *("--url", f"http://{host}:{port}", "--phases", "examples,coverage,fuzzing"),
        *("--exclude-path-regex", ENDS, "--mode", "all"),
        *("--max-examples", "20", "--seed", "1", "--generation-database", "none"),
        *("--request-timeout", "10", "--continue-on-failure", "--no-color"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}"
    assert proxy.process.is_running()
    assert proxy.call("GET", "/function/echo").status == 200
    assert yaml.safe_load(proxy.file.read_text()) == proxy.config
