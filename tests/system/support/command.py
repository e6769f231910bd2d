"""The subcommands of the program under test."""

import os
import subprocess

from support.hopwise import binary


def hopwise(*arguments: str, code: int | None = 0, **environment: str) -> str:
    """What a command prints, whose exit code must be `code`, or any but 0 if that is None."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("HOPWISE_")}
    done = subprocess.run(
        [binary(), *arguments], capture_output=True, text=True, timeout=60, env={**bare, **environment}
    )
    as_told = done.returncode != 0 if code is None else done.returncode == code
    assert as_told, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "\x1b" not in done.stdout, "colours where nobody sees them"
    return done.stdout if code == 0 else done.stdout + done.stderr
