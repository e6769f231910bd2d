"""Sidecars that share a key: what a signature proves, and everything it does not."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.api import assert_error
from support.cluster import Cluster
from support.exchange import new_run
from support.hopwise import CLIENT
from support.peer import Peer
from support.wait import eventually
from support.wire import Response, request

MakeCluster = Callable[..., Cluster]

KEY = b"0123456789abcdef0123456789abcdef"
TARGET = "/function/echo"
CLAIMS = ("hopwise-call: hop=1, stage=execute, via=edge2",)
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), Path("libfaketime.so.1"))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("keyed")
    (directory / "key").write_bytes(KEY)
    started = Cluster(
        directory / "cluster",
        architecture="centralized",
        peers={"key_file": str(directory / "key")},
    )
    yield started
    started.stop()


def peer_of(cluster: Cluster, node: str, key: bytes = KEY, id: str | None = None) -> Peer:
    return Peer(cluster.nodes[node].data, key, id or node, CLIENT)


def invocation(run: str, *fields: str) -> bytes:
    return request("POST", TARGET, *fields, f"X-Run: {run}", body=b"x")


def assert_rejected(response: Response, cluster: Cluster, run: str, times: int = 0) -> None:
    assert assert_error(response, 403)["error"] == "peer_rejected"
    assert response.value("connection") == "close"
    assert len(cluster.started(run)) == times


def test_who_holds_the_key_is_a_peer(keyed: Cluster) -> None:
    peer = peer_of(keyed, "edge1")
    assert peer.greeted.status == 204 and peer.is_proven
    for _ in range(3):
        run = new_run()
        response = peer.send(invocation(run, *CLAIMS, peer.signature("POST", TARGET, *CLAIMS)))
        assert response.status == 200
        report = response.value("hopwise-report") or ""
        assert report.startswith("node=edge1, hop=1, in-flight="), report
        ((node, received),) = keyed.started(run)
        assert node == "edge1"
        assert not [n for n, _ in received.headers if n.lower().startswith(b"hopwise")]
    peer.close()


def test_a_request_counts_once(keyed: Cluster) -> None:
    """Again on its connection, and again on another, greeting included."""
    run = new_run()
    peer = peer_of(keyed, "edge1")
    recorded = invocation(run, *CLAIMS, peer.signature("POST", TARGET, *CLAIMS))
    assert peer.send(recorded).status == 200
    assert_rejected(peer.send(recorded), keyed, run, times=1)
    assert peer.wire.is_closed_by_peer()
    another = peer_of(keyed, "edge1")
    assert_rejected(another.send(recorded), keyed, run, times=1)


def test_a_request_counts_at_its_recipient_alone(keyed: Cluster) -> None:
    meant = peer_of(keyed, "edge1")
    recorded = meant.signature("POST", TARGET, *CLAIMS)
    for node in ("edge3", "edge1"):
        run = new_run()
        assert_rejected(peer_of(keyed, node).send(invocation(run, *CLAIMS, recorded)), keyed, run)
    run = new_run()
    mistaken = peer_of(keyed, "edge3", id="edge1")
    assert not mistaken.is_proven, "edge3 does not pass for edge1"
    signed = mistaken.signature("POST", TARGET, *CLAIMS)
    assert_rejected(mistaken.send(invocation(run, *CLAIMS, signed)), keyed, run)


@pytest.mark.parametrize(
    "changed",
    [
        ("hopwise-call: hop=0, stage=execute, via=edge2",),
        ("hopwise-call: hop=1, stage=execute, via=edge4",),
        ("hopwise-call: hop=1, stage=execute, via=edge2, deadline-ms=1",),
        ("hopwise-call: hop=1, via=edge2",),
        ("hopwise-call: hop=0", *CLAIMS),
        (),
    ],
)
def test_what_is_signed_is_not_changed(changed: tuple[str, ...], keyed: Cluster) -> None:
    run = new_run()
    peer = peer_of(keyed, "edge1")
    signature = peer.signature("POST", TARGET, *CLAIMS)
    assert_rejected(peer.send(invocation(run, *changed, signature)), keyed, run)


def test_who_holds_another_key_is_rejected(keyed: Cluster) -> None:
    run = new_run()
    peer = peer_of(keyed, "edge1", key=b"another key of some length")
    assert peer.greeted.status == 204 and not peer.is_proven
    signature = peer.signature("POST", TARGET, *CLAIMS)
    assert_rejected(peer.send(invocation(run, *CLAIMS, signature)), keyed, run)


def test_who_signs_nothing_is_a_stranger(keyed: Cluster) -> None:
    """With or without a greeting, from a node's address, and by the twins of internal names."""
    before = keyed.nodes["edge1"].metrics()["hopwise_stripped_requests_total"]
    twins = tuple(claim.replace("hopwise-", "hopwise_") for claim in CLAIMS)
    cases = [(claims, source) for claims in (CLAIMS, twins) for source in (CLIENT, "127.0.0.3")]
    for claims, source in cases:
        run = new_run()
        peer = Peer(keyed.nodes["edge1"].data, KEY, "edge1", source)
        response = peer.send(invocation(run, *claims))
        peer.close()
        assert response.status == 200
        assert not [n for n, _ in response.headers if n.lower().startswith(b"hopwise")]
        ((_, received),) = keyed.started(run)
        assert not [n for n, _ in received.headers if n.lower().startswith(b"hopwise")]
    after = keyed.nodes["edge1"].metrics()["hopwise_stripped_requests_total"]
    assert after == before + len(cases)


@pytest.mark.parametrize(
    "greeting", ["greeting", "greeting ", "greeting 00", "greeting " + "z" * 32, "greeting " + "0" * 34]
)
def test_a_greeting_that_is_none_is_rejected(greeting: str, keyed: Cluster) -> None:
    response = keyed.call("edge1", TARGET, f"hopwise-signature: {greeting}")
    assert_error(response, 403)


def test_a_node_with_another_key_is_passed_over(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Nothing is lost, and its log and that of its callers say why."""
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "other").write_bytes(KEY[::-1])
    cluster = make_cluster(
        architecture="centralized",
        peers={"key_file": str(tmp_path / "key")},
        own={"cloud": {"peers": {"key_file": str(tmp_path / "other")}}},
    )
    for _ in range(5):
        response = cluster.call("edge2", TARGET)
        assert response.status == 200
        assert response.value("hopwise-architecture") != "centralized"
    assert "compare peers.key_file" in cluster.nodes["edge2"].output()


def test_a_key_is_replaced_on_the_fly(make_cluster: MakeCluster, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    cluster = make_cluster(architecture="centralized", peers={"key_file": str(key)})
    assert cluster.call("edge2", TARGET).value("hopwise-architecture") == "centralized"
    key.write_bytes(KEY[::-1])
    for node in cluster.nodes.values():
        node.json("POST", "/reload")

    def follows() -> bool:
        response = cluster.call("edge2", TARGET)
        assert response.status == 200
        return response.value("hopwise-architecture") == "centralized"

    eventually(follows, "the nodes know each other by the new key")


def test_clocks_that_step_by_an_hour_cost_nothing(
    make_cluster: MakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first call, and between two on the same connections."""
    assert FAKETIME.is_file(), "install the package faketime"
    step = tmp_path / "step"
    step.write_text("+0\n")
    (tmp_path / "key").write_bytes(KEY)
    for name, value in {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(step),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    cluster = make_cluster(architecture="centralized", peers={"key_file": str(tmp_path / "key")})
    # The cloud keeps the time; whoever calls it is an hour off, this way or that.
    cloud = cluster.nodes["cloud"]
    for name in ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE"):
        monkeypatch.delenv(name)
    cloud.stop()
    cloud.start()
    for offset in ("+1h", "-1h", "+0"):
        beside = tmp_path / "beside"
        beside.write_text(offset + "\n")
        os.replace(beside, step)
        skew = {"+1h": 3600, "-1h": -3600, "+0": 0}[offset]
        there = [n.json("GET", "/load")["timestamp"] for n in (cluster.nodes["edge2"], cloud)]
        assert abs(there[0] - there[1] - skew) < 60, "the clock has not stepped"
        for entry in ("edge2", "edge4"):
            for _ in range(10):
                response = cluster.call(entry, TARGET)
                assert response.status == 200
    for node in cluster.nodes.values():
        assert node.metrics()["hopwise_peer_rejections_total"] == 0
    assert cluster.call("edge2", TARGET).value("hopwise-architecture") == "centralized"
