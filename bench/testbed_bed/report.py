"""Tables and plots of what was measured."""

import json


def note(out, about, resume):
    """On what it was measured; with --resume, there may be several."""
    path = out / "machine.json"
    before = json.loads(path.read_text()) if resume and path.exists() else []
    path.write_text(json.dumps([*before, about], indent=1) + "\n")


def write(given, root):
    pass
