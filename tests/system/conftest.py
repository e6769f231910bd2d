"""Fixtures: the real gateway, the scripted one, and hopwise before either."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from origin import Origin
from support.cluster import Cluster
from support.gateway import Gateway
from support.hopwise import Config, Hopwise, single_node

StartHopwise = Callable[..., Hopwise]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """nginx -> functions-framework."""
    started = Gateway(tmp_path_factory.mktemp("gateway"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    started = Origin()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def before_origin(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hopwise]:
    """hopwise before the scripted gateway."""
    directory = tmp_path_factory.mktemp("before-origin")
    started = Hopwise(single_node(origin.address), directory)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def before_gateway(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hopwise]:
    """hopwise before the real gateway."""
    directory = tmp_path_factory.mktemp("before-gateway")
    started = Hopwise(single_node(gateway.address), directory)
    yield started
    started.stop()


@pytest.fixture
def start_hopwise(tmp_path: Path) -> Iterator[StartHopwise]:
    """Starts instances of one's own; all are stopped at the end."""
    started: list[Hopwise] = []
    numbers = itertools.count()

    def start(config: Config, **options: Any) -> Hopwise:
        options.setdefault("name", f"hopwise-{next(numbers)}")
        started.append(Hopwise(config, tmp_path, **options))
        return started[-1]

    yield start
    for instance in started:
        instance.stop()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Starts five-node clusters of one's own."""
    started: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        started.append(Cluster(tmp_path / f"cluster-{len(started)}", **options))
        return started[-1]

    yield make
    for cluster in started:
        cluster.stop()
