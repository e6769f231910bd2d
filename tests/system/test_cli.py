"""The subcommands that ask and steer a sidecar that runs, and those that print what is known without."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from origin import Origin
from support.cluster import Cluster
from support.command import hopwise
from support.hopwise import REPOSITORY, Config, Hopwise, binary, single_node
from support.wait import free_port

CONFIGURATIONS = sorted((REPOSITORY / "config").glob("*.yaml"))


@pytest.fixture
def node(origin: Origin, start_hopwise: Callable[..., Hopwise]) -> Hopwise:
    return start_hopwise(single_node(origin.address, role="cloud-controller"))


@pytest.fixture
def ask(node: Hopwise) -> Callable[..., str]:
    def asked(*arguments: str, **options: Any) -> str:
        return hopwise(*arguments, HOPWISE_ADMIN="%s:%d" % node.admin, **options)

    return asked


def test_mode_thresholds_and_reload(node: Hopwise, ask: Callable[..., str]) -> None:
    assert ask("mode") == "decentralized\n"
    assert "mode federated" in ask("mode", "federated")
    assert json.loads(ask("mode", "--json"))["mode"] == "federated"
    refused = ask("mode", "anarchic", code=2)
    assert "anarchic" in refused and "decentralized, dynamic" in refused
    assert "soft_d2f  1.2" in ask("thresholds", "--soft-d2f", "1.2")
    assert json.loads(ask("thresholds", "--json"))["thresholds"]["soft_d2f"] == 1.2
    assert "nothing was changed" in ask("thresholds", "--soft-d2f", "9", code=1)
    assert "soft_d2f = -1" in ask("thresholds", "--soft-d2f", "-1", code=1)
    assert "'nan'" in ask("thresholds", "--soft-d2f", "nan", code=2)
    assert json.loads(ask("mode", "federated", "--json"))["mode"] == "federated"
    refused = json.loads(ask("thresholds", "--soft-d2f", "9", "--json", code=1))
    assert refused["exit_code"] == 1 and "nothing was changed" in refused["error"]
    assert "mode: federated -> decentralized" in ask("reload")
    assert node.json("GET", "/configuration")["mode"] == "decentralized"


def test_thresholds_say_where_they_have_no_effect(node: Hopwise, ask: Callable[..., str]) -> None:
    for rule, remarked in [("adaptive", True), ("tail_ratio", False)]:
        node.write({**node.config, "dynamic": {"rule": rule}})
        node.json("POST", "/reload")
        for change in ((), ("--soft-d2f", "1.2")):
            assert ("no effect" in ask("thresholds", *change)) is remarked
        assert json.loads(ask("thresholds", "--json"))["rule"] == rule


def test_status_and_top(ask: Callable[..., str]) -> None:
    text = ask("status")
    assert text.startswith("edge1 LIVE (cloud-controller, zone edge-A)") and "edge1*" in text
    document = json.loads(ask("status", "--json"))
    assert document["clusters"]["nodes"][0]["health"] == "healthy"
    assert ask("top", "--looks", "2", "--interval", "1").count("edge1 LIVE") == 2
    assert json.loads(ask("top", "--looks", "1", "--json"))["server"]["node"] == "edge1"


def test_drain_and_health(node: Hopwise, ask: Callable[..., str]) -> None:
    assert ask("health") == "ready\n"
    assert "failed" in ask("health", "--fail")
    assert "/healthcheck/ok" in ask("health", code=1)
    assert json.loads(ask("health", "--json", code=1))["ready"] is False
    assert "ok" in ask("health", "--ok", "--wait", "0") and ask("health", "--json")
    assert ask("drain", "edge1") == "edge1 is drained\n"
    assert "draining" in ask("status")
    assert ask("drain", "edge1", "--undo") == "edge1 is back\n"
    assert "no node nobody" in ask("drain", "nobody", code=1)
    assert "is no name" in ask("drain", "a/b", code=2)
    assert "is no name" in ask("drain", "", code=2)
    assert "DRAINING" in ask("drain")
    assert "another node" in ask("health", code=1)


def test_explain(node: Hopwise) -> None:
    at = ("--at", "%s:%d" % node.data)
    text = hopwise("explain", "echo", *at)
    assert text.startswith("200 OK") and "edge1" in text and "decentralized" in text
    document = json.loads(hopwise("explain", "echo", "--data", "hello", "--json", *at))
    assert document["status"] == 200 and document["told"]["node"] == "edge1"
    assert "hello" in document["body"]
    assert [decision["node"] for decision in document["told"]["decision"]] == ["edge1"]
    assert hopwise("explain", "/function/echo?a=1", *at).startswith("200 OK")
    hopwise("explain", "", *at, code=2)
    hopwise("explain", "echo", "--host", "", *at, code=2)
    assert "--host" in hopwise("explain", "/of/no/function", *at, code=4)


def test_explain_tells_all_who_decide(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(architecture="federated")
    at = ("--at", "%s:%d" % cluster.nodes["edge2"].data)
    document = json.loads(hopwise("explain", "echo", "--json", *at))
    first, second, *_ = document["told"]["decision"]
    assert (first["node"], second["node"]) == ("edge2", "edge1") and second["candidates"]
    text = hopwise("explain", "echo", *at)
    assert text.index("decision of edge2") < text.index("decision of edge1")


def test_explain_calls_what_routes_say(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    routes = [{"host": "{function}.example.com", "path": "/", "platform": "http"}]
    node = start_hopwise(single_node(origin.address, routes=routes))
    at = ("--at", "%s:%d" % node.data)
    document = json.loads(hopwise("explain", "/echo", "--host", "echo.example.com", "--json", *at))
    assert document["told"]["decision"][0]["function"] == "echo"
    assert "--host" in hopwise("explain", "echo", *at, code=4)


def test_who_is_not_there_and_who_may_not(node: Hopwise, tmp_path: Path) -> None:
    nobody = f"127.0.0.2:{free_port('127.0.0.2')}"
    for command in (["status"], ["health"], ["reload"], ["drain", "a"], ["top"]):
        said = hopwise(*command, "--admin", nobody, code=3)
        assert nobody in said and "--admin or HOPWISE_ADMIN" in said
    assert "--at or HOPWISE_DATA" in hopwise("explain", "f", "--at", nobody, code=3)
    # The option counts before the environment.
    hopwise("health", "--admin", "%s:%d" % node.admin, HOPWISE_ADMIN=nobody)
    hopwise("health", HOPWISE_ADMIN=nobody, code=3)
    assert "--token-file" in hopwise("status", "--token-file", str(tmp_path / "no"), code=1)
    assert 'HOPWISE_ADMIN: "" is no HOST:PORT' in hopwise("status", HOPWISE_ADMIN="", code=2)
    assert '"x" is no HOST:PORT' in hopwise("status", "--admin", "x", code=2)
    hopwise("status", "--nonsense", code=2)
    hopwise("health", "--fail", "--ok", code=2)
    assert "Exit codes" in hopwise("--help") and "HOPWISE_ADMIN" in hopwise("status", "--help")


def test_the_environment_names_the_configuration(origin: Origin, tmp_path: Path) -> None:
    config = single_node(origin.address)
    file = tmp_path / "hopwise.yaml"
    file.write_text(yaml.safe_dump(config))
    assert "good; node edge1" in hopwise("check", HOPWISE_CONFIG=str(file))
    assert "no.yaml" in hopwise("check", "--config", "no.yaml", HOPWISE_CONFIG=str(file), code=1)
    assert "/etc/hopwise/hopwise.yaml" in hopwise("check", "--help")
    assert "/etc/hopwise/hopwise.yaml" in hopwise("check", HOPWISE_CONFIG="", code=1)


def test_check_tells_all_problems_with_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("hop_limit: 99\ntopology:\n  - {id: a, role: x, zone: z, address: 1.2.3.4}\n")
    said = hopwise("check", "--config", str(file), code=1)
    assert f"{file}:1:1: hop_limit = 99" in said and f"{file}:3:13: topology[0].role" in said
    document = json.loads(hopwise("check", "--config", str(file), "--json", code=1))
    places = {problem["key"]: (problem["line"], problem["column"]) for problem in document["problems"]}
    assert places["hop_limit"] == (1, 1) and places["topology[0].role"] == (3, 13)
    assert document["good"] is False
    document = json.loads(hopwise("check", "--config", str(tmp_path / "none"), "--json", code=1))
    assert document["good"] is False and document["problems"][0]["value"].endswith("none")


def mutations(config: Config) -> dict[str, Config]:
    """What `check` refuses, and a schema can see."""
    node = config["topology"][0]
    return {
        "unknown key": {**config, "colour": "red"},
        "unknown mode": {**config, "architecture": "anarchic"},
        "out of range": {**config, "hop_limit": 9},
        "wrong type": {**config, "timeouts": {"connect_ms": "long"}},
        "no section": {**config, "limits": 3},
        "no role": {**config, "topology": [{k: v for k, v in node.items() if k != "role"}]},
        "unknown key in a node": {**config, "topology": [{**node, "gpu": True}]},
        "unknown key of a function": {**config, "functions": {"f": {"retries": 1}}},
        "no topology": {k: v for k, v in config.items() if k != "topology"},
    }


def test_the_schema_takes_what_check_takes() -> None:
    schema = json.loads(hopwise("config", "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert len(CONFIGURATIONS) >= 3
    for file in CONFIGURATIONS:
        config = yaml.safe_load(file.read_text())
        validator.validate(config)
        validator.validate(json.loads(hopwise("config", "dump", "--config", str(file), "--json")))
    for name, bad in mutations(yaml.safe_load((REPOSITORY / "config/example.yaml").read_text())).items():
        assert not validator.is_valid(bad), name


def test_configurations_are_printed(node: Hopwise, ask: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "default.yaml"
    file.write_text(hopwise("config", "default"))
    hopwise("check", "--config", str(file))
    dumped = yaml.safe_load(hopwise("config", "dump", "--config", str(node.file)))
    ask("mode", "federated")
    live = yaml.safe_load(ask("config", "dump", "--live"))
    assert live == {**dumped, "architecture": "federated"}


def test_what_is_known_without_a_sidecar(tmp_path: Path) -> None:
    assert json.loads(hopwise("version", "--json"))["version"] in hopwise("version")
    for shell in ("bash", "zsh", "fish"):
        assert "explain" in hopwise("completions", shell)
    for shell in ("bash", "zsh"):
        assert "decentralized" in hopwise("completions", shell)
    script = tmp_path / "hopwise.bash"
    script.write_text(hopwise("completions", "bash"))
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert ".TH hopwise" in hopwise("man")
    hopwise("man", "--out", str(tmp_path))
    assert (tmp_path / "hopwise-explain.1").read_text().startswith(".ie")


@pytest.mark.parametrize("command", ["config default", "config schema", "completions bash", "man", "version"])
def test_output_that_is_not_written_is_a_failure(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([binary(), *command.split()], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "cannot write to standard output" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([binary(), *command.split()], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, ""), "nobody reads any more"
