#!/bin/sh
# What a decision costs, in time and in instructions, as one JSON document.
#
#   bench/decide_instructions.sh [OUT]
#
# Time is the median that criterion finds. Instructions are what callgrind counts for 2N
# invocations less what it counts for N, so that setting up cancels out, divided by N.
set -eu
cd "$(dirname "$0")/.."
out=${1:-bench/results/2026-11-23-decide.json}
count=20000
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT

program=$(cargo bench --bench decide --no-run --message-format json 2>/dev/null |
    python3 -c 'import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "decide":
        print(message["executable"])')

CRITERION_HOME="$home/criterion" "$program" --bench >/dev/null 2>&1

instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        "$program" instructions "$1" "$2" 2>&1 | sed -n 's/.*Collected : //p'
}
for scenario in $("$program" scenarios); do
    once=$(instructions "$scenario" "$count")
    twice=$(instructions "$scenario" $((2 * count)))
    steps=$("$program" instructions "$scenario" "$count")
    echo "$scenario $(((twice - once) / count)) $steps" >>"$home/instructions"
done

python3 - "$home" "$out" "$count" <<'PYTHON'
import json, pathlib, platform, subprocess, sys

home, out, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


def says(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


cpu = [line for line in open("/proc/cpuinfo") if line.startswith("model name")]
medians = {}
for file in home.glob("criterion/**/new/benchmark.json"):
    name = json.loads(file.read_text())["full_id"]
    estimates = json.loads((file.parent / "estimates.json").read_text())["median"]
    interval = estimates["confidence_interval"]
    medians[name] = {
        "median_ns": round(estimates["point_estimate"], 1),
        "median_ns_95": [round(interval["lower_bound"], 1), round(interval["upper_bound"], 1)],
    }
scenarios = []
for line in (home / "instructions").read_text().splitlines():
    name, instructions, steps = line.split(" ", 2)
    policy, nodes, samples = name.split("/")
    scenarios.append(
        {"policy": policy, "nodes": int(nodes), "samples": int(samples), **medians[name],
         "instructions": int(instructions), "steps": steps}
    )
document = {
    "command": "bench/decide_instructions.sh",
    "measured": "decide + report + record_placed of one invocation",
    "machine": {
        "cpu": cpu[0].split(":")[1].strip(),
        "cores": int(says("nproc")),
        "kernel": platform.release(),
        "commit": says("git", "rev-parse", "HEAD"),
        "changed": bool(says("git", "status", "--porcelain", "src", "bench/decide.rs")),
        "rustc": says("rustc", "--version"),
        "valgrind": says("valgrind", "--version"),
    },
    "instructions_over": count,
    "scenarios": scenarios,
}
pathlib.Path(out).write_text(json.dumps(document, indent=1) + "\n")
PYTHON
