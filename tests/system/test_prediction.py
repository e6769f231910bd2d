"""The default rules, with real processes: prediction by node, and by architecture."""

import os
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from support.cluster import PLACES, Cluster
from support.exchange import new_run
from support.wait import eventually

ADDRESS = {place.id: place.host for place in PLACES}

MakeCluster = Callable[..., Cluster]


def fill(cluster: Cluster, node: str, seconds: int) -> list[threading.Thread]:
    """Has twice as many calls as there are cores run at this very node."""
    run = new_run()
    peer = next(i for i in ("edge1", "edge3") if i != node)
    fields = (f"X-Run: {run}", f"hopwise-call: hop=1, stage=execute, via={peer}")
    target = f"/function/sleep?seconds={seconds}"
    count = 2 * len(os.sched_getaffinity(0))

    def hold() -> None:
        cluster.call(node, target, *fields, source=ADDRESS[peer])

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(cluster.started(run)) == count, f"{node} is full")
    return threads


def targets(cluster: Cluster, entry: str, calls: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for _ in range(calls):
        response = cluster.call(entry, "/function/sleep?seconds=0.05")
        assert response.status == 200
        seen[response.value("hopwise-node") or ""] += 1
    return seen


@pytest.mark.parametrize("architecture", ["decentralized", "dynamic"])
def test_a_full_node_sends_its_work_elsewhere_and_takes_it_back(
    architecture: str, make_cluster: MakeCluster
) -> None:
    # Here everyone is near; this is about nodes for whom the way to a controller is worth sparing.
    cluster = make_cluster(
        architecture=architecture, dynamic={"exact_view": 0, "exact_view_busy": 0}
    )
    before = targets(cluster, "edge2", 20)
    assert before["edge2"] >= 15, before
    busy = fill(cluster, "edge2", seconds=5)
    during = targets(cluster, "edge2", 30)
    assert during["edge2"] <= 5, during
    for thread in busy:
        thread.join()
    # That calls of one function took a hundred times as long is held against the node for a while.
    eventually(lambda: targets(cluster, "edge2", 5)["edge2"] >= 3, "edge2 has its work back", 60)


def test_what_finds_no_core_free_goes_to_the_zone_controller(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(architecture="dynamic")
    targets(cluster, "edge2", 10)
    busy = fill(cluster, "edge2", seconds=4)
    deciders: Counter[str] = Counter()
    for _ in range(30):
        response = cluster.call("edge2", "/function/sleep?seconds=0.05")
        deciders[response.value("hopwise-architecture") or ""] += 1
    assert deciders["decentralized"] <= 5, deciders
    assert deciders["federated"] + deciders["centralized"] >= 25, deciders
    for thread in busy:
        thread.join()


def test_a_controller_knows_the_load_of_who_asks_it(make_cluster: MakeCluster) -> None:
    """A worker says how full it is with every call it hands over, so none comes straight back."""
    cluster = make_cluster(architecture="federated")
    busy = fill(cluster, "edge2", seconds=4)
    seen = targets(cluster, "edge2", 20)
    assert seen["edge2"] <= 3, seen
    for thread in busy:
        thread.join()
