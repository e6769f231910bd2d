"""The machine and the program, so that a reader knows what a figure came from."""

import datetime
import json
import os
import platform
import subprocess


def says(root, *command):
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def describe(root, program, command):
    changed = says(root, "git", "status", "--porcelain", "src", "config", "Cargo.toml", "Cargo.lock")
    return {
        "date": datetime.date.today().isoformat(),
        "command": command,
        "cpu": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "rustc": says(root, "rustc", "--version"),
        "commit": says(root, "git", "rev-parse", "HEAD"),
        "changed": bool(changed),
        "given": program if os.environ.get("HOPWISE_BIN") else None,
    }


def write(out, about):
    (out / "machine.json").write_text(json.dumps(about, indent=1) + "\n")


def read(out):
    return json.loads((out / "machine.json").read_text())
