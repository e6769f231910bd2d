"""Why invocations went where they went, as those who may ask are told."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from origin import Origin
from support.cluster import IDS, Cluster
from support.hopwise import Hopwise, single_node
from support.wire import Response, values

HEADER_BYTES_MAX = 4096


def decisions(response: Response) -> list[Any]:
    """What each decider says, in their order."""
    found = values(response.headers, "hopwise-decision")
    assert all(len(value) <= HEADER_BYTES_MAX for value in found)
    return [json.loads(value) for value in found]


def test_the_decision_is_told(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(architecture="decentralized")
    response = cluster.call("edge2", "/function/echo")
    assert response.status == 200
    told = decisions(response)
    first = told[0]
    assert (first["node"], first["function"], first["stage"]) == ("edge2", "echo", "entry")
    assert (first["mode"], first["architecture"]) == ("decentralized", "decentralized")
    assert (first["why"], first["selection"], first["attempt"]) == ("picked", "predictive", 1)
    assert {c["node"] for c in first["candidates"]} == set(IDS)
    assert first["target"] == first["candidates"][0]["node"] == response.value("hopwise-node")
    prices = [c["price_s"] for c in first["candidates"] if "price_s" in c]
    assert first["candidates"][0]["price_s"] == min(prices)
    for c in first["candidates"]:
        if "price_s" in c:
            way = c["network_s"] + c["cold_start_s"]
            runs = c["service_s"] * c["slowdown"] * c["stretch"]
            assert c["completion_s"] == pytest.approx((way + runs) / c["success"], rel=1e-3, abs=1e-5)
            crowding = 0.35 * c["service_s"] * c["slowdown"] * (c["stretch"] - 1)
            price = c["completion_s"] + crowding
            assert c["price_s"] == pytest.approx(price, rel=1e-3, abs=1e-5)


def test_those_who_decide_after_one_another_are_told(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(architecture="federated")
    response = cluster.call("edge2", "/function/echo")
    assert response.status == 200
    told = decisions(response)
    assert (told[0]["node"], told[0]["step"], told[0]["target"]) == ("edge2", "delegate", "edge1")
    assert told[0]["why"] == "handed"
    assert (told[1]["node"], told[1]["stage"]) == ("edge1", "schedule")
    assert told[1]["candidates"]
    assert told[1]["target"] == response.value("hopwise-node")


def test_a_failed_node_is_told(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(architecture="federated", retries={"attempts": 3})
    cluster.nodes["edge1"].process.kill()
    cluster.nodes["edge1"].process.wait()
    response = cluster.call("edge2", "/function/echo")
    assert response.status == 200
    (told, *_) = decisions(response)
    assert (told["architecture"], told["fallback_from"]) == ("decentralized", "federated")
    assert told["attempt"] == 2
    excluded = {c["node"]: c["excluded"] for c in told["candidates"] if "excluded" in c}
    assert excluded["edge1"] in ("avoided", "ejected")


def test_entry_tells_it_too(before_origin: Hopwise) -> None:
    body = json.dumps({"fn_name": "echo", "payload": "x"}).encode()
    asked = before_origin.call("POST", "/entry", "hopwise-explain: 1", body=body)
    (told,) = decisions(asked)
    assert (told["step"], told["target"]) == ("run_here", "edge1")
    assert not decisions(before_origin.call("POST", "/entry", body=body)), "nobody asked"


def test_a_gateway_cannot_make_it_up(origin: Origin, before_origin: Hopwise) -> None:
    response = before_origin.call("GET", "/function/status?code=200", "hopwise-decision: forged")
    assert response.value("hopwise-decision") is None


@pytest.mark.parametrize("admin", [False, True])
def test_the_last_decisions_are_kept(admin: bool, before_origin: Hopwise) -> None:
    for name in ("one", "other", "one"):
        path = f"/function/{name}"
        assert before_origin.call("POST", path, "hopwise-explain: 1", body=b"x").status == 200
    kept = before_origin.json("GET", "/decisions", admin=admin)["decisions"]
    assert [d["function"] for d in kept[:3]] == ["one", "other", "one"]
    assert kept[0]["time"] >= kept[1]["time"] >= kept[2]["time"]
    of_one = before_origin.json("GET", "/decisions?fn_name=one", admin=admin)["decisions"]
    assert {d["function"] for d in of_one} == {"one"}
    assert before_origin.json("GET", "/decisions?fn_name=never", admin=admin) == {"decisions": []}


def test_so_many_are_kept(origin: Origin, start_hopwise: Callable[..., Hopwise]) -> None:
    proxy = start_hopwise(single_node(origin.address, limits={"decisions": 2}))
    for i in range(5):
        fields = ("hopwise-explain: 1",)
        assert proxy.call("POST", f"/function/f{i}", *fields, body=b"x").status == 200
    kept = proxy.json("GET", "/decisions")["decisions"]
    assert [d["function"] for d in kept] == ["f4", "f3"]
    config = {**proxy.config, "limits": {"decisions": 0}}
    proxy.write(config)
    proxy.json("POST", "/reload")
    assert proxy.json("GET", "/decisions") == {"decisions": []}
