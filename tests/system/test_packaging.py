"""What hopwise is shipped with. What cannot run here (containers, clusters) is checked by its linters."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.hopwise import REPOSITORY, binary

CONFIG = REPOSITORY / "config"
UNIT = CONFIG / "systemd" / "hopwise.service"
MANIFESTS = sorted((CONFIG / "kubernetes").glob("*.yaml"))
# The worst that `systemd-analyze security` may say, of ten.
EXPOSURE_MAX = 2.5


def run(*command: str, code: int = 0, **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def tool(name: str) -> str:
    """One that came with the Python packages, or with Debian."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name, path="/usr/bin:/usr/sbin:/bin")
    assert found, f"{name} is missing; tests/run installs it"
    return found


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def configurations() -> list[tuple[str, str]]:
    found = [("debian", (CONFIG / "debian" / "hopwise.yaml").read_text())]
    for file in MANIFESTS:
        maps = [d for d in documents(file) if d["kind"] == "ConfigMap"]
        found += [(file.stem, d["data"]["hopwise.yaml"]) for d in maps]
    return found


@pytest.mark.parametrize(("name", "text"), configurations())
def test_the_configurations_that_are_shipped_are_good(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "hopwise.yaml"
    file.write_text(text)
    node = ["--node", "edge1"] if name == "daemonset" else []
    assert "good" in run(binary(), "check", "--config", str(file), *node)


def test_the_units_are_understood(tmp_path: Path) -> None:
    # The unit names paths of an installed package; here the binary is elsewhere.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/hopwise", binary()))
    (tmp_path / "hopwise.socket").write_text(UNIT.with_suffix(".socket").read_text())
    said = run(tool("systemd-analyze"), "verify", "--man=no", str(unit), str(tmp_path / "hopwise.socket"))
    # Those before version 253 say that they do not know the second Type, and keep the first.
    complaints = [line for line in said.splitlines() if "hopwise" in line and "notify-reload" not in line]
    assert complaints == []


def test_the_unit_leaves_little_to_the_process() -> None:
    threshold = str(int(EXPOSURE_MAX * 10))
    said = run(tool("systemd-analyze"), "security", "--offline=yes", f"--threshold={threshold}", str(UNIT))
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", said)
    assert exposure and float(exposure[1]) <= EXPOSURE_MAX, said


def test_the_dockerfile_is_sound() -> None:
    run(tool("hadolint"), str(CONFIG / "container" / "Dockerfile"))


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_the_manifests_are_what_kubernetes_takes(file: Path) -> None:
    run(tool("kubernetes-validate"), "--strict", "--version", "1.30", str(file))
    (pod,) = [d["spec"]["template"]["spec"] for d in documents(file) if "template" in d.get("spec", {})]
    containers = pod.get("initContainers", []) + pod["containers"]
    (sidecar,) = [container for container in containers if container["name"] == "hopwise"]
    # The commands are there in this very version, and end before the pod is killed.
    command = sidecar["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:3] == ["/hopwise", "health", "--fail"]
    drain_s = 30
    assert pod["terminationGracePeriodSeconds"] > int(command[-1]) + drain_s
    assert sidecar["readinessProbe"]["exec"]["command"] == ["/hopwise", "health"]
    assert sidecar["securityContext"]["runAsNonRoot"] is True
    assert file.stem != "sidecar" or sidecar["restartPolicy"] == "Always"


def test_the_entry_for_faasd_has_what_faasd_reads() -> None:
    (document,) = documents(CONFIG / "faasd" / "docker-compose.yaml")
    service = document["services"]["hopwise"]
    assert service["image"] and service["volumes"][0]["target"] == "/etc/hopwise"
    assert service["environment"] == ["HOPWISE_CONFIG=/etc/hopwise/hopwise.yaml"]


def test_the_scripts_are_sound() -> None:
    scripts = [CONFIG / "redirect", *(CONFIG / "debian" / name for name in ("build", "postinst", "prerm", "postrm"))]
    run(tool("shellcheck"), *map(str, scripts))


REDIRECTED = r"""
set -eu
ip link set lo up
export PATH="$PATH:/usr/sbin:/sbin"
redirect=$1
rules() { iptables-save -t nat | grep -v '^[#:]'; }
answer() { curl -s --max-time 2 http://127.0.0.1:31112/; }
python3 -c '
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "7"); self.end_headers()
        self.wfile.write(b"hopwise")
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 31113), Handler).serve_forever()' &
server=$!
iptables -t nat -A OUTPUT -p udp --dport 9 -j ACCEPT
before=$(rules)
! "$redirect" status
! answer
"$redirect" up
once=$(rules)
for _ in $(seq 50); do answer >/dev/null && break; sleep 0.1; done
[ "$(answer)" = hopwise ]
"$redirect" up
[ "$(rules)" = "$once" ]
"$redirect" status
DATA_PORT=31999 "$redirect" up
! answer
"$redirect" down
[ "$(rules)" = "$before" ]
"$redirect" down
[ "$(rules)" = "$before" ]
! "$redirect" status
kill $server
"""


def test_redirects_come_and_go_as_often_as_asked() -> None:
    run("unshare", "--net", "bash", "-c", REDIRECTED, "bash", str(CONFIG / "redirect"))
    run(str(CONFIG / "redirect"), code=2)
