"""The programs that a bed needs."""

import os
from pathlib import Path

from peers_report import tools

tools.DEBIAN |= {"ip": "iproute2", "setpriv": "util-linux", "chrt": "util-linux"}


def install_tools():
    tools.install(["ip", "setpriv", "chrt", "nice"])


def built(root):
    """hopwise, and the moving parts of the bed; or what HOPWISE_BIN and BED_BIN name."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "release"
    programs = {}
    for name, named, kind, place in [("hopwise", "HOPWISE_BIN", "--bin", "hopwise"),
                                     ("bed", "BED_BIN", "--example", "examples/bed")]:
        if named not in os.environ:
            tools.run("cargo", "build", "--release", "--quiet", "--locked", kind, name, cwd=root)
        programs[name] = Path(os.environ.get(named, target / place)).resolve()
    return programs
