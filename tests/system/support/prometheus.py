"""A real Prometheus, from Debian's package, that scrapes what it is told to."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support.process import Process
from support.wait import eventually, free_port
from support.wire import fetch

HOST = "127.0.0.1"


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing: tests/run fetches it, or install Debian's prometheus"
    return found


def promtool(*arguments: str, text: str = "") -> None:
    """Runs a check of promtool, which must find nothing."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, input=text, text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


class Prometheus:
    def __init__(self, directory: Path, *targets: tuple[str, int]) -> None:
        self.port = free_port(HOST)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {
                    "job_name": "hopwise",
                    "static_configs": [{"targets": [f"{h}:{p}" for h, p in targets]}],
                }
            ],
        }
        # JSON is YAML.
        file = directory / "prometheus.yml"
        file.write_text(json.dumps(config))
        self.process = Process(
            "prometheus",
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={HOST}:{self.port}",
                "--enable-feature=native-histograms,exemplar-storage",
            ],
            directory,
        )

    def query(self, expression: str) -> list[Any]:
        """What an instant query finds now."""
        return self.get(f"/api/v1/query?query={quote(expression)}")["result"]

    def get(self, target: str) -> Any:
        response = fetch((HOST, self.port), "GET", target)
        assert response.status == 200, response.body
        return json.loads(response.body)["data"]

    def eventually(self, expression: str) -> list[Any]:
        """What a query finds once it finds anything."""
        try:
            return eventually(lambda: self.query(expression), expression, timeout=40, poll=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.process.output()[-4000:]}") from None

    def stop(self) -> None:
        self.process.stop()
