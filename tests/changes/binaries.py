"""100 changes of the binary: by SIGUSR2, by a newer process started beside the old one, and by the
latter with a SIGTERM to the old one as soon as it drains."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from changes.load import under_load
from changes.scene import GATEWAY, Notifications, directory, gateway, has_ended
from support.hopwise import Hopwise, binary, single_node
from support.process import Process
from support.wait import eventually

GOAL = "no request fails, is refused or reset"
BETWEEN_SECONDS = 0.2


def put_in_place(path: Path) -> None:
    """A new file at the path of the old one, as a package manager does it."""
    beside = path.with_suffix(".new")
    shutil.copy(binary(), beside)
    beside.replace(path)


def run(scale: float) -> dict[str, Any]:
    count = max(6, round(100 * scale))
    with directory() as at, gateway(at):
        notified = Notifications(at)
        program = at / "hopwise"
        put_in_place(program)
        config = single_node(GATEWAY, handover={"socket": str(at / "handover.sock")})
        proxy = Hopwise(config, at, start=False)
        command = [str(program), "run", "--config", str(proxy.file)]
        environment = {"NOTIFY_SOCKET": notified.path, "NO_COLOR": "1"}
        running = Process("hopwise", command, at, env=environment).pid
        assert notified.next() == ["READY=1"]
        processes = {running}
        with under_load(proxy.data) as tally:
            for number in range(count):
                time.sleep(BETWEEN_SECONDS)
                put_in_place(program)
                if number % 3 == 0:
                    os.kill(running, signal.SIGUSR2)
                else:
                    Process("hopwise", command, at, env=environment)
                newer = int(notified.until("MAINPID="))
                notified.until("READY=1")
                if number % 3 == 2:
                    os.kill(running, signal.SIGTERM)
                eventually(lambda old=running: has_ended(old), "the old process ends", 40)
                running = newer
                processes.add(running)
            time.sleep(BETWEEN_SECONDS)
        os.kill(running, signal.SIGTERM)
        eventually(lambda: has_ended(running), "the last process ends", 40)
    return {
        "changes": count,
        "processes": len(processes),
        "load": tally.summary(),
        "passed": not tally.failures and len(processes) == count + 1,
    }
