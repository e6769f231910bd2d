"""Five processes: who decides, where it runs, and what happens when a decider is gone."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster import IDS, PLACES, ROOMY, Cluster
from support.exchange import new_run
from support.hopwise import CLIENT, Hopwise
from support.wait import eventually, free_port
from support.wire import Closed, fetch

ARCHITECTURES = ("centralized", "federated", "decentralized")
ADDRESS = {place.id: place.host for place in PLACES}
ROLE = {place.id: place.role for place in PLACES}
ZONE = {place.id: place.zone for place in PLACES}

MakeCluster = Callable[..., Cluster]


# The documented rules, which say by the table alone where a call may go.
DOCUMENTED: dict[str, Any] = {"selection": "weighted", "dynamic": {"rule": "tail_ratio"}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """All nodes have room."""
    started = Cluster(tmp_path_factory.mktemp("architectures") / "cluster", **DOCUMENTED)
    yield started
    started.stop()


def switch(cluster: Cluster, architecture: str) -> None:
    for node in cluster.nodes.values():
        node.json("POST", "/reload", {"architecture": architecture})
        assert node.json("GET", "/configuration")["mode"] == architecture


def members(zone: str) -> set[str]:
    return {place.id for place in PLACES if place.zone == zone}


def allowed_hops(architecture: str, entry: str) -> dict[str, int]:
    """Target to hop, by the table of roles: each offload to another sidecar is one hop."""
    controllers = {"cloud": "cloud", "edge-A": "edge1", "edge-B": "edge3"}
    if architecture == "decentralized":
        return {entry: 0}
    federated = architecture == "federated"
    decider = controllers[ZONE[entry]] if federated else "cloud"
    targets = members(ZONE[entry]) if federated else set(IDS)
    to_decider = int(decider != entry)
    return {target: to_decider + int(target != decider) for target in targets}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("entry", IDS)
def test_it_runs_where_the_table_says(architecture: str, entry: str, cluster: Cluster) -> None:
    switch(cluster, architecture)
    allowed = allowed_hops(architecture, entry)
    seen: Counter[str] = Counter()
    # 300 draws that never leave one of several nodes would be no selection at all.
    for attempt in range(300):
        if attempt >= 40 and (len(seen) > 1 or len(allowed) == 1):
            break
        run = new_run()
        response = cluster.call(entry, "/function/echo/x?y=z", f"X-Run: {run}")
        assert response.status == 200, response.body
        started = cluster.started(run)
        assert len(started) == 1, f"started at {[name for name, _ in started]}"
        node, received = started[0]
        seen[node] += 1
        assert node in allowed
        assert response.value("hopwise-node") == node
        assert response.value("hopwise-hop") == str(allowed[node])
        assert response.value("hopwise-architecture") == architecture
        assert "in-flight=" in (response.value("hopwise-load") or "")
        assert received.target == "/function/echo/x?y=z"
        assert not [n for n, _ in received.headers if n.lower().startswith(b"hopwise")]
        assert (received.value("x-forwarded-for") or "").split(",")[0].strip() == CLIENT
    assert len(seen) > 1 or len(allowed) == 1, seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("entry", IDS)
def test_entry_says_what_happened(architecture: str, entry: str, cluster: Cluster) -> None:
    switch(cluster, "decentralized")
    allowed = allowed_hops(architecture, entry)
    for _ in range(15):
        body = {"fn_name": "echo", "payload": "hi", "arch": architecture, "tag": "t"}
        status, answer = cluster.entry(entry, body)
        assert status == 200, answer
        target = answer["target_node"]
        assert target in allowed
        assert answer["hop"] == allowed[target]
        assert answer["status"] == "success"
        assert answer["architecture"] == architecture
        assert answer["execution_location"] == ("local" if target == entry else "remote")
        assert json.loads(answer["resp"])["node"] == target
        assert answer["total_time"] > 0 and answer["architecture_time"] >= 0
        if target == entry:
            assert "message" not in answer
        else:
            where = {f"Offloaded to node {i}" for i in IDS}
            where |= {f"Offloaded to zone {p.zone}" for p in PLACES}
            assert answer["message"] in where


def occupy(cluster: Cluster, node: str) -> threading.Thread:
    """Keeps one invocation running at this very node: it looks as if a decider had chosen it."""
    run = new_run()
    peer = next(i for i in ("edge1", "edge2") if i != node)
    fields = (f"X-Run: {run}", f"hopwise-call: hop=1, stage=execute, via={peer}")
    target = "/function/sleep?seconds=6"

    def hold() -> None:
        cluster.call(node, target, *fields, source=ADDRESS[peer])

    thread = threading.Thread(target=hold)
    thread.start()
    eventually(lambda: [name for name, _ in cluster.started(run)] == [node], f"{node} is busy")
    return thread


def test_a_pressed_node_offloads(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(offload={**ROOMY, "load_thresh": 0.5}, **DOCUMENTED)
    busy = occupy(cluster, "edge1")
    elsewhere: Counter[str] = Counter()
    for attempt in range(300):
        if attempt >= 20 and set(elsewhere) - {"edge1"}:
            break
        response = cluster.call("edge1", "/function/echo")
        assert response.status == 200
        node = response.value("hopwise-node") or ""
        assert response.value("hopwise-hop") == ("0" if node == "edge1" else "1")
        elsewhere[node] += 1
    assert set(elsewhere) - {"edge1"}, elsewhere
    switch(cluster, "federated")
    for _ in range(20):
        response = cluster.call("edge1", "/function/echo")
        assert response.status == 200
        node = response.value("hopwise-node") or ""
        assert ZONE[node] != "edge-A", "a pressed controller hands over to another zone"
        assert response.value("hopwise-hop") == ("1" if ROLE[node].endswith("controller") else "2")
    busy.join()


def test_a_node_with_offloading_disabled_keeps_its_work(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(offload={"enabled": False, "cpu_thresh": 0.0, "load_thresh": 0.0})
    busy = occupy(cluster, "edge1")
    for _ in range(20):
        response = cluster.call("edge1", "/function/echo")
        assert response.value("hopwise-node") == "edge1"
    busy.join()


@pytest.mark.parametrize("target", ["/function/echo", "/entry", "/schedule"])
def test_a_loop_is_508(target: str, cluster: Cluster) -> None:
    fields = ("hopwise-call: hop=1, stage=schedule, via=edge1 edge2",)
    body = b'{"fn_name": "echo", "payload": ""}'
    response = cluster.call("edge1", target, *fields, body=body, source=ADDRESS["edge2"])
    assert response.status == 508
    document = json.loads(response.body)
    assert set(document) == {"error", "message", "request_id"}
    assert document["error"] == "loop"


def test_peer_headers_count_from_peers_only(cluster: Cluster) -> None:
    switch(cluster, "decentralized")
    fields = ("hopwise-call: hop=1, stage=schedule, via=edge1",)
    assert cluster.call("edge1", "/function/echo", *fields, source=CLIENT).status == 200
    assert cluster.call("edge1", "/function/echo", *fields, source="127.0.0.3").status == 508


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("hopwise-call: hop=x", "hopwise-call makes no sense (hop)"),
        ("hopwise-call: hop=1, stage=run", "hopwise-call makes no sense (stage)"),
        ("hopwise-call: hop=1, architecture=none", "hopwise-call makes no sense (architecture)"),
        ("hopwise-call: deadline-ms=-1", "hopwise-call makes no sense (deadline-ms)"),
        ("hopwise-call: hop=1, cores=few", "hopwise-call makes no sense (the load)"),
    ],
)
def test_what_a_peer_says_makes_sense_or_is_named(field: str, named: str, cluster: Cluster) -> None:
    response = cluster.call("edge1", "/function/echo", field, source=ADDRESS["edge2"])
    document = json.loads(response.body)
    assert (response.status, document["error"]) == (400, "bad_request")
    assert named in document["message"] and "same version" in document["message"]
    assert cluster.call("edge1", "/function/echo", field, source=CLIENT).status == 200


def test_a_peer_of_an_earlier_version_is_told_to_ask_somebody_else(cluster: Cluster) -> None:
    """It knows this refusal as one after which nothing ran, so that nothing is lost meanwhile."""
    field = "hopwise-stage: execute"
    response = cluster.call("edge1", "/function/echo", field, source=ADDRESS["edge2"])
    assert (response.status, response.value("hopwise-refusal")) == (403, "peer_rejected")
    assert "hopwise-stage is that of an earlier version" in response.body.decode()
    assert cluster.call("edge1", "/function/echo", field, source=CLIENT).status == 200


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("hop", [2, 3, 200])
def test_the_hop_limit_never_refuses(architecture: str, hop: int, cluster: Cluster) -> None:
    switch(cluster, architecture)
    run = new_run()
    fields = (
        f"X-Run: {run}",
        f"hopwise-call: hop={hop}, stage=schedule, architecture={architecture}, via=edge2",
    )
    response = cluster.call("edge1", "/function/echo", *fields, source=ADDRESS["edge2"])
    assert response.status == 200
    assert [node for node, _ in cluster.started(run)] == ["edge1"]
    assert response.value("hopwise-hop") == str(hop)


def test_schedule_is_for_controllers(cluster: Cluster) -> None:
    body = json.dumps({"fn_name": "echo", "payload": "", "arch": "federated"}).encode()
    refused = cluster.call("edge2", "/schedule", body=body, source=ADDRESS["edge1"])
    assert refused.status == 403
    accepted = cluster.call("edge1", "/schedule", body=body, source=ADDRESS["edge2"])
    assert accepted.status == 200
    assert json.loads(accepted.body)["target_node"] in members("edge-A")


def test_bodies_and_status_survive_every_hop(cluster: Cluster) -> None:
    switch(cluster, "centralized")
    body = bytes(range(256)) * 300
    for _ in range(20):
        response = cluster.call("edge2", "/function/echo", body=body)
        assert json.loads(response.body)["body"] == body.decode("latin-1")
        response = cluster.call("edge2", "/function/status?code=418", body=b"")
        assert response.start == b"HTTP/1.1 418 Status"
        assert response.body == b"as asked"


def test_five_processes_can_share_one_file(cluster: Cluster, tmp_path: Path) -> None:
    """`--node` says who one is."""
    host = "127.0.0.6"
    listen = {"data": f"{host}:{free_port(host)}", "admin": f"{host}:{free_port(host)}"}
    started = Hopwise(cluster.config("edge1", listen=listen), tmp_path, node="edge4")
    try:
        assert started.json("GET", "/configuration")["self"] == "edge4"
    finally:
        started.stop()


class Load:
    """Clients that keep calling one entry; every invocation has a run of its own."""

    def __init__(self, cluster: Cluster, entry: str, clients: int = 8) -> None:
        self.cluster = cluster
        self.entry = entry
        self.stopped = threading.Event()
        self.answers: dict[str, int] = {}
        self.architectures: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self.call) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def call(self) -> None:
        target = "/function/sleep?seconds=0.05"
        while not self.stopped.is_set():
            run = new_run()
            try:
                response = self.cluster.call(self.entry, target, f"X-Run: {run}")
                self.answers[run] = response.status
                self.architectures[response.value("hopwise-architecture") or ""] += 1
            except (Closed, OSError):
                self.answers[run] = 0

    def finish(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize(
    ("architecture", "entry", "controller", "falls_back_to"),
    [
        ("centralized", "edge2", "cloud", "federated"),
        ("centralized", "edge1", "cloud", "federated"),
        ("federated", "edge4", "edge3", "decentralized"),
    ],
)
def test_killing_the_controller_loses_nothing_that_had_not_started(
    architecture: str,
    entry: str,
    controller: str,
    falls_back_to: str,
    make_cluster: MakeCluster,
) -> None:
    cluster = make_cluster(architecture=architecture)
    load = Load(cluster, entry)
    try:
        eventually(lambda: load.architectures[architecture] >= 50, f"{architecture} decides")
        cluster.nodes[controller].process.kill()
        eventually(lambda: load.architectures[falls_back_to] >= 50, f"{falls_back_to} takes over")
        # The dead node's function gateway stays up: only its sidecar is gone.
        cluster.nodes[controller].start()
        before = load.architectures[architecture]
        eventually(
            lambda: load.architectures[architecture] >= before + 50,
            f"{controller} is asked again",
            timeout=60,
        )
    finally:
        load.finish()
    failed = [run for run, status in load.answers.items() if status != 200]
    lost = [run for run in failed if not cluster.started(run)]
    # Between having read an invocation and having passed it on, a dying controller leaves no trace
    # by which its client could tell; 8 clients cannot have more than one in those microseconds.
    assert len(lost) <= 1, f"{len(lost)} of {len(failed)} failures had not started"
    assert len(failed) <= 8, "at most what was running through the controller may fail"
    twice = [run for run in load.answers if len(cluster.started(run)) > 1]
    assert not twice, "nothing that may have started is started again"


def test_a_gateway_that_is_gone_is_avoided(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(architecture="federated")
    cluster.gateways["edge2"].stop()
    for _ in range(40):
        assert cluster.call("edge1", "/function/echo").status == 200


def test_everyone_gone_means_run_here(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(architecture="centralized")
    for node in IDS:
        if node != "edge2":
            cluster.nodes[node].process.kill()
    for _ in range(10):
        response = cluster.call("edge2", "/function/echo")
        assert response.status == 200
        assert response.value("hopwise-node") == "edge2"
        assert response.value("hopwise-hop") == "0"
    metrics = cluster.nodes["edge2"].metrics()
    assert metrics["hopwise_fallbacks_total"] >= 10, "a fallback is counted"


def test_dynamic_follows_the_tail_ratio(make_cluster: MakeCluster) -> None:
    """Without enough samples it stays decentralized; then the thresholds decide."""
    # Every ratio is far above the first pair, and far below the second.
    low = {"soft_d2f": 0.001, "hard_d2f": 0.002, "soft_f2c": 900.0, "hard_f2c": 1000.0}
    scheduler = {f"{name}_threshold": value for name, value in low.items()}
    scheduler |= {"min_samples": 10, "sample_interval": 0.01}
    cluster = make_cluster(architecture="dynamic", tail_scheduler=scheduler, **DOCUMENTED)
    edge2 = cluster.nodes["edge2"]

    def architecture() -> str | None:
        response = cluster.call("edge2", "/function/echo")
        assert response.status == 200
        return response.value("hopwise-architecture")

    assert {architecture() for _ in range(9)} == {"decentralized"}
    eventually(lambda: {architecture() for _ in range(20)} == {"federated"}, "federated takes over")
    shares = edge2.json("GET", "/arch_metrics")["functions"]["echo"]["shares"]
    assert shares["federated"] > 0.5
    edge2.json("POST", "/update_threshold", {"hard_d2f": 1000, "soft_d2f": 900})
    eventually(lambda: {architecture() for _ in range(20)} == {"decentralized"}, "and back", 40)


def test_sidecars_keep_their_connections(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(architecture="centralized")
    for _ in range(100):
        assert cluster.call("edge2", "/function/echo").status == 200
    made = cluster.nodes["edge2"].metrics()["hopwise_upstream_connects_total"]
    assert made <= 12, f"{made} connections for 100 invocations one after another"


def test_the_shared_key_tells_peers(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """With a key an address vouches for nobody any more; the nodes still reach each other."""
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    key.chmod(0o600)
    cluster = make_cluster(architecture="centralized", peers={"key_file": str(key)})
    for _ in range(20):
        response = cluster.call("edge2", "/function/echo")
        assert response.status == 200
        assert response.value("hopwise-architecture") == "centralized"
    fields = ("hopwise-call: hop=1, stage=schedule, via=edge1",)
    assert cluster.call("edge1", "/function/echo", *fields, source="127.0.0.3").status == 200
    forged = (*fields, "hopwise-signature: t=1, mac=" + "0" * 64)
    assert cluster.call("edge1", "/function/echo", *forged, source="127.0.0.3").status == 403


def test_the_request_itself_is_what_was_sent(cluster: Cluster) -> None:
    """An offloaded call differs from a local one for the function in nothing but its way."""
    switch(cluster, "centralized")
    for _ in range(20):
        run = new_run()
        fields = (f"X-Run: {run}", "X-A: 1", "x-B:", "Cookie: a=1", "X-Call-Id: 7")
        response = fetch(cluster.nodes["edge2"].data, "POST", "/function/echo", *fields, body=b"b")
        assert response.status == 200
        ((_, received),) = cluster.started(run)
        kept = {n: v for n, v in received.headers if not n.lower().startswith(b"x-forwarded")}
        kept.pop(b"Connection", None)
        kept.pop(b"connection", None)
        assert kept == {
            b"Host": b"gateway.example",
            b"X-Run": run.encode(),
            b"X-A": b"1",
            b"x-B": b"",
            b"Cookie": b"a=1",
            b"X-Call-Id": b"7",
            b"Content-Length": b"1",
        }
