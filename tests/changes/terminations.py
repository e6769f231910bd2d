"""100 SIGTERMs, each followed by a start when the old process has ended, as `systemctl restart`
does it; the listening sockets are held by the service manager."""

import signal
import time
from typing import Any

from changes.load import under_load
from changes.scene import GATEWAY, directory, gateway
from support.hopwise import Hopwise, single_node
from support.succession import ServiceManager
from support.wait import free_port

GOAL = "no request fails, is refused or reset; new clients wait while no process runs"
BETWEEN_SECONDS = 0.2


def run(scale: float) -> dict[str, Any]:
    count = max(5, round(100 * scale))
    pauses = []
    with directory() as at, gateway(at):
        host = "127.0.0.2"
        manager = ServiceManager(at, (host, free_port(host)), ("127.0.0.1", free_port()))
        data, admin = (held.getsockname() for held in manager.sockets)
        config = single_node(GATEWAY)
        config["listen"] = {"data": f"{data[0]}:{data[1]}", "admin": f"{admin[0]}:{admin[1]}"}
        proxy = Hopwise(config, at, start=False)
        process = manager.start("hopwise", "--config", str(proxy.file))
        assert manager.heard() == ["READY=1"]
        with under_load(proxy.data) as tally:
            for _ in range(count):
                time.sleep(BETWEEN_SECONDS)
                begun = time.monotonic()
                process.signal(signal.SIGTERM)
                assert manager.heard() == ["STOPPING=1"]
                assert process.wait(40) == 0, process.output()
                process = manager.start("hopwise", "--config", str(proxy.file))
                assert manager.heard() == ["READY=1"]
                pauses.append(time.monotonic() - begun)
            time.sleep(BETWEEN_SECONDS)
        process.stop()
        manager.close()
    pauses.sort()
    return {
        "restarts": count,
        "median_restart_ms": round(1000 * pauses[len(pauses) // 2], 1),
        "longest_restart_ms": round(1000 * pauses[-1], 1),
        "load": tally.summary(),
        "passed": not tally.failures,
    }
