"""How fast the simulator is. This is of the machine, so it is kept apart from the rows."""

import json
import resource
import subprocess
import time

from . import plan

#: A run that needs more than this is stopped, so that it does not take others with it.
MEMORY_MAX_GIB = 10
#: A run that takes longer than this is stopped.
SECONDS_MAX = 240


def limit_memory():
    most = MEMORY_MAX_GIB << 30
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def run(simulator, scenario, policy, more):
    """One thread, one seed, one policy: what it takes, and how many invocations it told of."""
    command = simulator.command(scenario, [policy], [1], ("--json", *more), threads=1)
    begun = time.monotonic()
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        preexec_fn=limit_memory,
    )
    trial = {"scenario": scenario, "policy": policy, "filter": " ".join(more)}
    try:
        text, _ = running.communicate(timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        running.kill()
        running.communicate()
        return {**trial, "failure": f"took longer than {SECONDS_MAX} s"}
    took_s = time.monotonic() - begun
    if running.returncode != 0:
        return {**trial, "failure": f"ended with {running.returncode} ({MEMORY_MAX_GIB} GiB at most)"}
    # Those of the warm-up were simulated, too, but are not counted: this errs on the safe side.
    invocations = sum(row["samples"] for row in json.loads(text))
    return {
        **trial,
        "invocations": invocations,
        "took_s": round(took_s, 2),
        "invocations_per_minute": round(invocations / took_s * 60),
    }


def best_of(times, *arguments):
    """The fastest: others who use the machine can only make it slower."""
    runs = [run(*arguments) for _ in range(times)]
    done = [one for one in runs if "failure" not in one]
    return min(done, key=lambda one: one["took_s"]) if done else runs[0]


def measure(simulator, quick):
    policies = [plan.CLAIRVOYANT, plan.REFERENCE, "decentralized+predictive", plan.ADAPTIVE]
    if quick:
        filter = ("--cell", "steady", "--concurrency", "10")
        return [run(simulator, "testbed", plan.ADAPTIVE, filter)]
    found = [best_of(3, simulator, "testbed", policy, ()) for policy in policies]
    large = ("--entry", "uniform", "--concurrency", "160", "--cell", "long")
    found += [best_of(2, simulator, "fleet-41", policy, large) for policy in policies]
    large = ("--entry", "uniform", "--concurrency", "2000")
    found += [run(simulator, "fleet-1000", policy, large) for policy in policies]
    large = ("--entry", "uniform", "--concurrency", "5000")
    # The clairvoyant looks at every node each time, which takes minutes in a fleet of this size.
    return found + [run(simulator, "fleet-10000", policy, large) for policy in policies[1:]]


def write(out, found):
    lines = ",\n".join(json.dumps(one) for one in found)
    (out / "speed.json").write_text(f"[\n{lines}\n]\n")


def read(out):
    file = out / "speed.json"
    return json.loads(file.read_text()) if file.exists() else []
