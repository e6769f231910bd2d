"""Instructions per request in user space, which do not depend on who else uses the machine."""

import re
import shutil

from .bench import PROXY_CPU, SATURATED

REQUESTS = 4000


def counted(bench, peer, requests):
    """All that a new process of `peer` executes to answer so many requests."""
    out = bench.scratch / f"callgrind-{peer}-{requests}"
    valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes",
                f"--callgrind-out-file={out}-%p", "--log-file=/dev/null"]
    process = bench.proxies.start(f"{peer}:callgrind", PROXY_CPU, wrapped=valgrind)
    saw = bench.generate(process.port, SATURATED, "--requests", requests, "--seconds", 120,
                         "--connections", 8)
    bench.proxies.stop(process)
    if saw["failed"] or saw["requests"] != requests:
        raise RuntimeError(f"{saw['failed']} of {requests} requests failed: {saw['problem']}")
    texts = (path.read_text() for path in bench.scratch.glob(f"{out.name}-*"))
    totals = [int(found) for text in texts
              for found in re.findall(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)[:1]]
    return sum(totals)


def measure(bench, peers):
    """Instructions for twice as many requests, less those for half of them: no start is in it."""
    if not shutil.which("valgrind"):
        return
    for peer in peers:
        try:
            few, many = (counted(bench, peer, count) for count in (REQUESTS, 2 * REQUESTS))
        except (RuntimeError, SystemExit) as problem:
            print(f"no instruction count of {peer}: {problem}")
            continue
        bench.rows.append({"round": 0, "scenario": "instructions", "peer": peer,
                           "instructions_per_request": round((many - few) / REQUESTS)})
