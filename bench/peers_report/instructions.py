"""Instructions per request in user space, which do not depend on who else uses the machine."""

import re
import shutil
import time
import urllib.request

from .bench import PROXY_CPU, SATURATED
from .special import CHAIN, start_chain, start_pair

REQUESTS = 4000
WARM_UP_REQUESTS, WARM_UP_S = 1000, 2


def ran_at(process):
    """Invocations that a hopwise has run; of others none are known."""
    if not process.name.startswith("hopwise"):
        return 0
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port + 500}/metrics") as answer:
        text = answer.read().decode()
    return sum(map(int, re.findall(r"^hopwise_steps_total\{step=\"run_here\"\} (\d+)$", text,
                                   re.MULTILINE)))


def counted(bench, name, start, requests):
    """All that new processes, which `start` starts, execute to answer so many requests."""
    out = bench.scratch / f"callgrind-{name}-{requests}"
    # What a count that failed has left would be added to this one.
    for earlier in bench.scratch.glob(f"{out.name}-*"):
        earlier.unlink()
    valgrind = ["valgrind", "--tool=callgrind", "--trace-children=yes",
                f"--callgrind-out-file={out}-%p", "--log-file=/dev/null"]
    processes = start(valgrind)
    bench.generate(processes[0].port, SATURATED, "--requests", WARM_UP_REQUESTS, "--connections", 8)
    time.sleep(WARM_UP_S)
    before = ran_at(processes[-1])
    saw = bench.generate(processes[0].port, SATURATED, "--requests", requests, "--seconds", 120,
                         "--connections", 8)
    ran = ran_at(processes[-1]) - before
    for process in processes:
        bench.proxies.stop(process)
    # Until peers have found each other, a sidecar runs itself what it would hand on.
    if len(processes) > 1 and ran != requests:
        raise RuntimeError(f"the second sidecar ran {ran} of {requests}")
    if saw["failed"] or saw["requests"] != requests:
        raise RuntimeError(f"{saw['failed']} of {requests} requests failed: {saw['problem']}")
    texts = (path.read_text() for path in bench.scratch.glob(f"{out.name}-*"))
    totals = [int(found) for text in texts
              for found in re.findall(r"^(?:summary|totals): (\d+)$", text, re.MULTILINE)[:1]]
    return sum(totals)


def tried(bench, name, start, requests):
    """The same, and once more where that failed: so slow, two sidecars may lose each other."""
    try:
        return counted(bench, name, start, requests)
    except RuntimeError as problem:
        print(f"{name} once more: {problem}")
        bench.proxies.stop_all()
        return counted(bench, name, start, requests)


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
            few, many = (tried(bench, name, start, count) for count in (REQUESTS, 2 * REQUESTS))
        except (RuntimeError, SystemExit) as problem:
            print(f"no instruction count of {name}: {problem}")
            continue
        bench.rows.append({"round": 0, "scenario": "instructions", "peer": name,
                           "instructions_per_request": round((many - few) / REQUESTS)})
