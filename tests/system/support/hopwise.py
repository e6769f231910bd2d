"""The program under test, as a real process, and its configuration files."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from support import netns
from support.process import Process
from support.wait import eventually, free_port
from support.wire import Response, fetch

REPOSITORY = Path(__file__).resolve().parents[3]
# Clients call from here: loopback, but no node's address, so nobody takes them for a sidecar.
CLIENT = "127.0.0.99"

Config = dict[str, Any]

OPERATOR_PATHS = {"/load", "/arch_metrics", "/durations", "/decisions", "/configuration"}


def binary() -> str:
    path = Path(os.environ.get("HOPWISE_BIN", REPOSITORY / "target" / "release" / "hopwise"))
    assert path.is_file(), f"{path} is missing: run `cargo build --release` or set HOPWISE_BIN"
    return str(path.resolve())


def single_node(
    gateway: tuple[str, int], host: str = "127.0.0.2", role: str = "worker", **changes: Any
) -> Config:
    """One node before `gateway`. Its address is not the clients', who are no peers then.

    As a cloud-controller it can be switched to any mode without another node.
    """
    data, admin = free_port(host), free_port(host)
    node = {
        "id": "edge1",
        "role": role,
        "zone": "edge-A",
        "address": host,
        "port": data,
        "gateway_port": gateway[1],
        "offload": {"enabled": True, "cpu_thresh": 1.0, "load_thresh": 1000.0},
    }
    config: Config = {
        "architecture": "decentralized",
        "node": {"id": "edge1"},
        "topology": [node],
        "listen": {"data": f"{host}:{data}", "admin": f"{host}:{admin}"},
        "gateway": f"{gateway[0]}:{gateway[1]}",
        "workers": 2,
    }
    return {**config, **changes}


def authority(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


class Hopwise:
    """`hopwise run`, ready to serve."""

    def __init__(
        self,
        config: Config,
        directory: Path,
        name: str = "hopwise",
        node: str | None = None,
        namespace: str | None = None,
        wait: bool = True,
        start: bool = True,
        wrapper: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.name = name
        self.node = node
        self.namespace = namespace
        self.wrapper = list(wrapper)
        self.env = {"NO_COLOR": "1", **(env or {})}
        self.config = config
        self.file = directory / f"{name}.yaml"
        self.data = authority(config["listen"]["data"])
        self.admin = authority(config["listen"]["admin"])
        self.write(config)
        if start:
            self.process = self.start(wait)

    def start(self, wait: bool = True) -> Process:
        """Starts it (again)."""
        command = [*self.wrapper]
        command += [] if self.namespace is None else netns.command(self.namespace)
        command += [binary(), "run", "--config", str(self.file)]
        command += ["--node", self.node] if self.node else []
        self.process = Process(self.name, command, self.directory, env=self.env)
        if wait:
            self.wait_ready()
        return self.process

    def wait_ready(self) -> None:
        def ready() -> bool:
            if not self.process.is_running():
                return True
            return self.fetch(self.admin, "GET", "/ready", timeout=2).status == 200

        try:
            eventually(ready, f"{self.name} answers /ready with 200")
            assert self.process.is_running(), f"{self.name} ended"
        except AssertionError as error:
            self.process.kill()
            raise AssertionError(f"{error}\n{self.output()}") from None

    def write(self, config: Config | str) -> None:
        """Replaces the file at once, as an operator's tool does; a reload has to be asked for."""
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False)
        beside = self.file.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.file)

    def output(self) -> str:
        return self.process.output()

    def call(
        self, method: str, target: str, *headers: str, admin: bool = False, **options: Any
    ) -> Response:
        address = self.admin if admin else self.data
        if admin or target.partition("?")[0] in OPERATOR_PATHS:
            # Operators on this host have to use a name that nobody else can give.
            options.setdefault("host", "localhost")
        source = CLIENT if self.namespace is None else None
        return self.fetch(address, method, target, *headers, source=source, **options)

    def fetch(self, address: tuple[str, int], *arguments: Any, **options: Any) -> Response:
        """Calls from where this instance runs."""
        return fetch(address, *arguments, namespace=self.namespace, **options)

    def json(self, method: str, target: str, body: object = None, admin: bool = False) -> Any:
        """The document of a call that must succeed."""
        data = b"" if body is None else json.dumps(body).encode()
        response = self.call(method, target, body=data, admin=admin)
        assert response.status == 200, f"{response.start!r} {response.body!r}"
        return json.loads(response.body)

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics; families with labels also as the sum over them."""
        response = self.call("GET", "/metrics", admin=True)
        assert response.status == 200, response.start
        return parse_metrics(response.body.decode())

    def reload_by_signal(self) -> None:
        self.process.signal(signal.SIGHUP)

    def stop(self) -> int:
        return self.process.stop()


def parse_metrics(text: str) -> dict[str, float]:
    samples: dict[str, float] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.rpartition(" ")
        samples[name] = float(rest)
        family = name.partition("{")[0]
        if family != name:
            samples[family] = samples.get(family, 0.0) + float(rest)
    return samples


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS for {pid}")
