"""Names of hosts: the last good answer outlives the resolver, but no longer than it holds."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from origin import Origin
from support.hopwise import Hopwise, single_node
from support.resolver import Resolver
from support.wait import eventually

NAME = "gateway.test"


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    started = Resolver()
    yield started
    started.close()


@pytest.fixture
def origin_at(resolver: Resolver) -> Iterator[Callable[[str], Origin]]:
    """Gateways on loopback addresses of their own, all on the port of the first."""
    started: list[Origin] = []

    def start(host: str) -> Origin:
        port = started[0].port if started else 0
        started.append(Origin(host, port, name=host))
        return started[-1]

    yield start
    for origin in started:
        origin.stop()


def start(
    origin: Origin, resolver: Resolver, directory: Path, fresh_ms: int, stale_ms: int = 60_000
) -> Hopwise:
    """One that knows its gateway by name, and needs a new connection for each call."""
    config = single_node((NAME, origin.port), limits={"idle_connections": 0}, workers=1)
    config["timeouts"] = {"name_fresh_ms": fresh_ms, "name_stale_ms": stale_ms}
    return Hopwise(config, directory, wrapper=resolver.command(directory))


def node(proxy: Hopwise) -> str:
    return str(proxy.json("GET", "/function/echo")["node"])


def test_a_resolver_that_is_gone_costs_nothing(
    resolver: Resolver, origin_at: Callable[[str], Origin], tmp_path: Path
) -> None:
    resolver.address = "127.0.0.7"
    proxy = start(origin_at("127.0.0.7"), resolver, tmp_path, fresh_ms=1)
    try:
        assert node(proxy) == "127.0.0.7"
        resolver.silent = True
        asked = resolver.asked
        for _ in range(50):
            assert node(proxy) == "127.0.0.7"
        eventually(lambda: node(proxy) == "127.0.0.7" and resolver.asked > asked, "it is asked")
    finally:
        proxy.stop()


def test_an_answer_is_not_used_for_ever(
    resolver: Resolver, origin_at: Callable[[str], Origin], tmp_path: Path
) -> None:
    resolver.address = "127.0.0.7"
    proxy = start(origin_at("127.0.0.7"), resolver, tmp_path, fresh_ms=1, stale_ms=500)
    try:
        assert node(proxy) == "127.0.0.7"
        resolver.silent = True
        eventually(lambda: proxy.call("GET", "/function/echo").status == 502, "it is too old")
        resolver.silent = False
        eventually(lambda: node(proxy) == "127.0.0.7", "there is an answer again")
    finally:
        proxy.stop()


def test_whoever_has_moved_is_found_at_once(
    resolver: Resolver, origin_at: Callable[[str], Origin], tmp_path: Path
) -> None:
    """Names are fresh for ten minutes, but nobody is at the old address any more."""
    resolver.address = "127.0.0.7"
    first = origin_at("127.0.0.7")
    proxy = start(first, resolver, tmp_path, fresh_ms=600_000)
    try:
        assert node(proxy) == "127.0.0.7"
        origin_at("127.0.0.8")
        resolver.address = "127.0.0.8"
        first.stop()
        eventually(lambda: node(proxy) == "127.0.0.8", "the new address is asked for")
    finally:
        proxy.stop()
