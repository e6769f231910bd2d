"""Processes under test: started on a core of their own, and what they have used."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

# Others on the machine must not take a core away in the middle of a second; root may say so.
NICE = ["nice", "-n", "-20"] if os.geteuid() == 0 else []


def listens(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


class Process:
    """One program with all its children, pinned."""

    def __init__(self, name, command, cpus, log, port):
        self.name, self.port = name, port
        if listens(port):
            sys.exit(f"something else listens on port {port}")
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                [*NICE, "taskset", "-c", cpus, *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.log = log

    def wait_ready(self, seconds=20):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.popen.poll() is None:
            if listens(self.port):
                return self
            time.sleep(0.05)
        text = Path(self.log).read_text(errors="replace")[-2000:]
        sys.exit(f"{self.name} does not listen on port {self.port}:\n{text}")

    def family(self):
        """The process and its children: nginx works in a child."""
        pid = self.popen.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def used(self):
        """Nanoseconds run, and waited for a core, by all threads."""
        ran = waited = 0
        for pid in self.family():
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                words = task.read_text().split()
                ran, waited = ran + int(words[0]), waited + int(words[1])
        return ran, waited

    def rss_kib(self):
        """Resident memory: pages of files count whole and once, though others may map them, too;
        other pages that parent and child share count by halves."""
        own = files = 0
        for pid in self.family():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            own += sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem): +(\d+)", text, re.MULTILINE)))
            status = Path(f"/proc/{pid}/status").read_text()
            files = max(files, int(re.search(r"^RssFile:\s+(\d+)", status, re.MULTILINE)[1]))
        return own + files

    def stop(self):
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def steal_share(before, after):
    """Share of the machine's time that its host gave to others."""
    spent = [b - a for a, b in zip(before, after)]
    return spent[7] / sum(spent) if sum(spent) else 0.0


def machine_times():
    return [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
