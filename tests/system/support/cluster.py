"""Five real sidecars on five loopback addresses, each before a gateway of its own."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from origin import Origin, Received
from support.hopwise import CLIENT, Config, Hopwise
from support.wait import free_port
from support.wire import Response, fetch


@dataclass(frozen=True)
class Place:
    id: str
    host: str
    role: str
    zone: str


PLACES = (
    Place("cloud", "127.0.0.1", "cloud-controller", "cloud"),
    Place("edge1", "127.0.0.2", "edge-controller", "edge-A"),
    Place("edge2", "127.0.0.3", "worker", "edge-A"),
    Place("edge3", "127.0.0.4", "edge-controller", "edge-B"),
    Place("edge4", "127.0.0.5", "worker", "edge-B"),
)
IDS = tuple(place.id for place in PLACES)
# Never pressed, whatever else the test machine is doing.
ROOMY = {"enabled": True, "cpu_thresh": 1.0, "load_thresh": 1000.0}


class Cluster:
    def __init__(
        self,
        directory: Path,
        architecture: str = "decentralized",
        offload: Config | None = None,
        own: dict[str, Config] | None = None,
        env: dict[str, str] | None = None,
        **changes: Any,
    ) -> None:
        """`changes` are everyone's, `own` those of single nodes."""
        directory.mkdir()
        self.directory = directory
        self.own = own or {}
        self.nodes: dict[str, Hopwise] = {}
        self.gateways: dict[str, Origin] = {}
        topology = []
        for place in PLACES:
            port = free_port(place.host, 31112)
            self.gateways[place.id] = Origin(place.host, port, place.id)
            topology.append(
                {
                    "id": place.id,
                    "role": place.role,
                    "zone": place.zone,
                    "address": place.host,
                    "port": free_port(place.host, 31113),
                    "gateway_port": port,
                    "offload": dict(offload or ROOMY),
                }
            )
        self.common: Config = {"architecture": architecture, "topology": topology, **changes}
        try:
            for place in PLACES:
                config = self.config(place.id)
                self.nodes[place.id] = Hopwise(
                    config, directory, name=place.id, wait=False, env=env
                )
            for node in self.nodes.values():
                node.wait_ready()
        except BaseException:
            self.stop()
            raise

    def config(self, node: str, **changes: Any) -> Config:
        """The file of `node`; the topology is everyone's, `listen` and `gateway` its own."""
        entry = next(e for e in self.common["topology"] if e["id"] == node)
        host = entry["address"]
        admin = self.nodes[node].admin[1] if node in self.nodes else free_port(host, 31114)
        own = {
            "node": {"id": node},
            "listen": {"data": f"{host}:{entry['port']}", "admin": f"{host}:{admin}"},
            "gateway": f"{host}:{entry['gateway_port']}",
            "workers": 1,
        }
        return copy.deepcopy({**self.common, **own, **self.own.get(node, {}), **changes})

    def stop(self) -> None:
        for node in self.nodes.values():
            node.process.signal(15)
        for node in self.nodes.values():
            node.stop()
        for gateway in self.gateways.values():
            gateway.stop()

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{node.output()}" for name, node in self.nodes.items())

    def call(
        self, entry: str, target: str, *headers: str, body: bytes = b"x", source: str = CLIENT
    ) -> Response:
        """A call of a function that asks who ran it and who decided."""
        fields = ("hopwise-explain: 1", *headers)
        address = self.nodes[entry].data
        return fetch(address, "POST", target, *fields, body=body, source=source)

    def entry(self, node: str, body: Config, source: str = CLIENT) -> tuple[int, Any]:
        data = json.dumps(body).encode()
        address = self.nodes[node].data
        response = fetch(address, "POST", "/entry", body=data, source=source)
        return response.status, json.loads(response.body)

    def started(self, run: str) -> list[tuple[str, Received]]:
        """Where an invocation with this X-Run began, over all gateways."""
        return [
            (name, received)
            for name, gateway in self.gateways.items()
            for received in gateway.by_run.get(run, [])
        ]
