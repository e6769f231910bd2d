"""One measurement: a load on a proxy, and what all three parties used for it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .processes import NICE, Process, machine_times, steal_share
from .proxies import FAR_PORT, GATEWAY_PORT, Proxies



def layout(cores):
    """Cores of proxy, gateway, generator, and one to spare. The proxy has one to itself; on a
    machine of two cores the others share the second, and need less of it than any proxy of its own.
    """
    if len(cores) < 2:
        sys.exit("one core is too few: the proxy needs one to itself; run this on two or more")
    first, proxy, *more = map(str, cores)
    gateway, generator = (more + [first, first])[:2] if len(more) != 1 else (first, more[0])
    return proxy, gateway, generator, first


CORES = sorted(os.sched_getaffinity(0))
PROXY_CPU, GATEWAY_CPU, GENERATOR_CPU, SPARE_CPU = layout(CORES)
SHARED = GATEWAY_CPU == GENERATOR_CPU
# A party with less of its core left than this may be the limit in place of the proxy.
IDLE_MIN = 0.10


@dataclass(frozen=True)
class Scenario:
    """A kind of load: arguments of the generator."""

    name: str
    title: str
    arguments: tuple
    cpus: str = GENERATOR_CPU
    saturates: bool = True
    seconds: float = 2.0
    # Turns in a round, for what varies much from one to the next.
    turns: int = 1


SATURATED = Scenario("saturated", "saturated, 32 connections", ("closed", "--connections", 32))
PACED = Scenario("paced", "1 000 requests/s, 16 connections",
                 ("paced", "--connections", 16, "--rate", 1000), saturates=False, turns=3)
BODY = Scenario("body", "POST of 64 KiB, 32 connections",
                ("closed", "--connections", 32, "--body-bytes", 65536))
ANSWER = Scenario("answer", "answers of 64 KiB, 32 connections",
                  ("closed", "--connections", 32, "--path", "/function/large"))
CONNECTIONS = Scenario(
    "connections", "a connection per request, 32 at once",
    ("closed", "--connections", 32, "--threads", 2, "--reconnect"),
    cpus=f"{SPARE_CPU},{GENERATOR_CPU}")
ALL = [SATURATED, PACED, BODY, ANSWER, CONNECTIONS]


@dataclass
class Bench:
    """Everything that runs, and the rows so far."""

    programs: dict
    scratch: Path
    speed: float = 1.0
    rows: list = field(default_factory=list)
    warned: set = field(default_factory=set)

    def __post_init__(self):
        self.proxies = Proxies(self.programs, self.scratch)
        log = self.scratch / "log"
        serve = [self.programs["load"], "serve", "--listen", f"127.0.0.1:{GATEWAY_PORT}"]
        self.gateway = Process("gateway", serve, GATEWAY_CPU, log, GATEWAY_PORT).wait_ready()
        far = [sys.executable, Path(__file__).parent / "far.py", FAR_PORT]
        self.far = Process("far", far, SPARE_CPU, log, FAR_PORT).wait_ready()

    def stop(self):
        self.proxies.stop_all()
        self.gateway.stop()
        self.far.stop()

    def generate(self, port, scenario, *more):
        seconds = scenario.seconds * self.speed
        command = [*NICE, "taskset", "-c", scenario.cpus, self.programs["load"],
                   *scenario.arguments, "--to", f"127.0.0.1:{port}", "--seconds", seconds, *more]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"the load generator failed on {scenario.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def measure(self, round_number, scenario, peer, processes, *more, turn=0):
        """Loads the first of `processes` (the others are behind it) and notes what came of it."""
        port = processes[0].port if processes else GATEWAY_PORT
        before = [process.used() for process in processes]
        gateway_before, times = self.gateway.used()[0], machine_times()
        saw = self.generate(port, scenario, *more)
        gateway_ns, steal = self.gateway.used()[0] - gateway_before, machine_times()
        after = [process.used() for process in processes]
        ran = [a[0] - b[0] for a, b in zip(after, before)]
        waited = sum(a[1] - b[1] for a, b in zip(after, before))
        wall_ns = saw["seconds"] * 1e9
        row = {"round": round_number, "turn": turn, "scenario": scenario.name, "peer": peer,
               "requests": saw["requests"], "failed": saw["failed"], "seconds": saw["seconds"],
               "requests_per_s": round(saw["requests"] / saw["seconds"], 1),
               "cpu_us_per_request": round(sum(ran) / 1e3 / max(saw["requests"], 1), 3),
               "p50_us": saw["p50_us"], "p99_us": saw["p99_us"],
               "proxy_busy": round(sum(ran) / wall_ns, 4),
               "proxy_waited": round(waited / wall_ns, 4),
               "generator_busy": saw["generator_busy"],
               "gateway_busy": round(gateway_ns / wall_ns, 4),
               "stolen": round(steal_share(times, steal), 4)}
        self.check(row, scenario, saw["problem"])
        self.rows.append(row)
        return row

    def check(self, row, scenario, problem):
        """Says so where a figure is not what it seems."""
        if row["failed"]:
            self.warn(row, f"{row['failed']} requests failed: {problem}")
        if row["peer"] == "direct" or not scenario.saturates:
            return
        used = {party: row[f"{party}_busy"] for party in ["generator", "gateway"]}
        if SHARED:
            used = {"generator and gateway": sum(used.values())}
        for party, share in used.items():
            if share > 1.0 - IDLE_MIN:
                self.warn(row, f"the {party} had but {100 * max(1 - share, 0):.0f} % of the core left")
        if row["proxy_busy"] < 1.0 - IDLE_MIN:
            self.warn(row, f"the proxy used but {100 * row['proxy_busy']:.0f} % of its core")

    def warn(self, row, text):
        row.setdefault("warnings", []).append(text)
        print(f"warning: round {row['round']}, {row['scenario']}, {row['peer']}: {text}",
              file=sys.stderr)
