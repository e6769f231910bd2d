"""30 bad configurations, each with a fault of its own, by SIGHUP and POST /reload in turn."""

import copy
from collections.abc import Callable
from typing import Any

import yaml
from changes.load import under_load
from changes.scene import GATEWAY, directory, gateway, sidecar
from support.hopwise import Config, Hopwise, single_node
from support.wait import eventually

GOAL = "none is applied: generation and behaviour stay as they were, and no request fails"

Fault = Callable[[Config], str | bytes | None]


def set_to(*path: str | int, value: object) -> Fault:
    """The good file with one value changed."""

    def spoil(config: Config) -> str:
        spoiled: Any = copy.deepcopy(config)
        inner = spoiled
        for key in path[:-1]:
            inner = inner.setdefault(key, {}) if isinstance(inner, dict) else inner[key]
        inner[path[-1]] = value
        return yaml.safe_dump(spoiled)

    return spoil


def text_of(change: Callable[[str], str | bytes]) -> Fault:
    return lambda config: change(yaml.safe_dump(config))


NODE = {"id": "edge2", "role": "worker", "zone": "edge-A", "address": "127.0.0.3"}

FAULTS: dict[str, Fault] = {
    "the file is gone": lambda _: None,
    "the file is empty": text_of(lambda _: ""),
    "no YAML": text_of(lambda text: text + "\n}{"),
    "no UTF-8": text_of(lambda text: text.encode() + b"\xff\xfe"),
    "cut off": text_of(lambda text: text[: text.index("role:") + 3]),
    "a list": text_of(lambda _: "- a\n- b\n"),
    "a key twice": text_of(lambda text: text + "\nworkers: 3\n"),
    "an unknown key": set_to("architekture", value="dynamic"),
    "an unknown key inside": set_to("limits", "conections", value=5),
    "an unknown architecture": set_to("architecture", value="anarchic"),
    "an unknown selection": set_to("selection", value="best"),
    "an unknown role": set_to("topology", 0, "role", value="boss"),
    "a node that is not in the topology": set_to("node", "id", value="edge9"),
    "no topology": set_to("topology", value=[]),
    "two nodes of one id": lambda config: yaml.safe_dump(
        {**config, "topology": config["topology"] * 2}
    ),
    "a node without an address": lambda config: yaml.safe_dump(
        {**config, "topology": [*config["topology"], {"id": "edge2", "role": "worker"}]}
    ),
    "a bad id": lambda config: yaml.safe_dump(
        {**config, "topology": [*config["topology"], {**NODE, "id": "a b"}]}
    ),
    "a port out of range": set_to("topology", 0, "port", value=70_000),
    "a number that is text": set_to("tail_scheduler", "soft_d2f_threshold", value="high"),
    "a number that is none": set_to("tail_scheduler", "soft_d2f_threshold", value=float("nan")),
    "soft above hard": set_to(
        "tail_scheduler", value={"soft_d2f_threshold": 3, "hard_d2f_threshold": 2}
    ),
    "a negative wait": set_to("timeouts", "connect_ms", value=-1),
    "a wait without end": set_to("timeouts", "answer_ms", value=10**12),
    "too many hops": set_to("hop_limit", value=99),
    "no connections": set_to("limits", "connections", value=0),
    "a gateway that is this sidecar": lambda config: set_to(
        "gateway", value=config["listen"]["data"]
    )(config),
    "a gateway without a port": set_to("gateway", value="127.0.0.1"),
    "an admin port for everyone": set_to("listen", "admin", value="0.0.0.0:31114"),
    "a key that is not there": set_to("peers", "key_file", value="/no/such/key"),
    "a function with a bad name": set_to("functions", value={"a/b": {"idempotent": True}}),
}


def write(proxy: Hopwise, text: str | bytes | None) -> None:
    proxy.file.unlink(missing_ok=True)
    if text is not None:
        proxy.file.write_bytes(text if isinstance(text, bytes) else text.encode())


def run(_: float) -> dict[str, Any]:
    applied = []
    with directory() as at, gateway(at):
        config = single_node(GATEWAY)
        with sidecar(config, at) as proxy:
            before = proxy.json("GET", "/configuration")
            with under_load(proxy.data) as tally:
                for number, (fault, spoil) in enumerate(FAULTS.items(), start=1):
                    write(proxy, spoil(config))
                    if number % 2:
                        proxy.reload_by_signal()
                        accepted = False
                    else:
                        accepted = proxy.call("POST", "/reload").status == 200
                    eventually(
                        lambda number=number: proxy.metrics()[
                            "hopwise_config_reload_failures_total"
                        ]
                        == number,
                        f"it is refused: {fault}",
                    )
                    if accepted or proxy.json("GET", "/configuration") != before:
                        applied.append(fault)
            proxy.write(config)
            good = proxy.json("POST", "/reload")
    return {
        "faults": len(FAULTS),
        "applied": applied,
        "good_one_after": good["generation"] == before["generation"] + 1,
        "load": tally.summary(),
        "passed": len(FAULTS) == 30 and not applied and not tally.failures,
    }
