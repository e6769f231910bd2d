"""What was measured, and on what: rows, one per line, and the machine."""

import datetime
import json
import os

from .tools import first_line


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def describe(root, command, versions):
    def git(*arguments):
        return first_line("git", "-C", root, *arguments)

    changed = git("status", "--porcelain", "src", "bench", "Cargo.toml", "Cargo.lock")
    return {
        "date": datetime.date.today().isoformat(),
        "command": command,
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "rustc": first_line("rustc", "--version"),
        "commit": git("rev-parse", "HEAD"),
        "changed": changed != "unknown",
        "given": os.environ.get("HOPWISE_BIN"),
        "versions": versions,
    }


def write(out, about, rows):
    (out / "machine.json").write_text(json.dumps(about, indent=1) + "\n")
    (out / "rows.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(out):
    about = json.loads((out / "machine.json").read_text())
    return about, [json.loads(line) for line in (out / "rows.json").read_text().splitlines()]
