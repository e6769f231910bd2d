"""Instructions per request in user space, which do not depend on who else uses the machine."""

import re
import shutil
import time

from .bench import PROXY_CPU, SATURATED
from .special import CHAIN, start_chain, start_pair

REQUESTS = 4000
WARM_UP_REQUESTS, WARM_UP_S = 1000, 2


def counted(bench, name, start, requests):
    """All that new processes, which `start` starts, execute to answer so many requests."""
    out = bench.scratch / f"callgrind-{name}-{requests}"
    valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes",
                f"--callgrind-out-file={out}-%p", "--log-file=/dev/null"]
    processes = start(valgrind)
    # Peers find each other first: until then a sidecar runs here what it would hand on.
    bench.generate(processes[0].port, SATURATED, "--requests", WARM_UP_REQUESTS, "--connections", 8)
    time.sleep(WARM_UP_S)
    saw = bench.generate(processes[0].port, SATURATED, "--requests", requests, "--seconds", 120,
                         "--connections", 8)
    for process in processes:
        bench.proxies.stop(process)
    if saw["failed"] or saw["requests"] != requests:
        raise RuntimeError(f"{saw['failed']} of {requests} requests failed: {saw['problem']}")
    texts = (path.read_text() for path in bench.scratch.glob(f"{out.name}-*"))
    totals = [int(found) for text in texts
              for found in re.findall(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)[:1]]
    return sum(totals)


def measure(bench, peers):
    """Instructions for twice as many requests, less those for half of them: no start is in it.

    Of two sidecars, those of both together.
    """
    if not shutil.which("valgrind"):
        return
    starts = {peer: lambda wrapped, peer=peer: [
        bench.proxies.start(f"{peer}:callgrind", PROXY_CPU, wrapped=wrapped)] for peer in peers}
    if "hopwise" in starts:
        starts[CHAIN] = lambda wrapped: start_chain(bench.proxies, wrapped)
        starts["two passes"] = lambda wrapped: start_pair(bench.proxies, "", wrapped)
    for name, start in starts.items():
        try:
            few, many = (counted(bench, name, start, count) for count in (REQUESTS, 2 * REQUESTS))
        except (RuntimeError, SystemExit) as problem:
            print(f"no instruction count of {name}: {problem}")
            continue
        bench.rows.append({"round": 0, "scenario": "instructions", "peer": name,
                           "instructions_per_request": round((many - few) / REQUESTS)})
