#!/usr/bin/env python3
"""CPU time per request of hopwise and of nginx, each proxying to the same gateway.

Both proxies run one worker on one core, keep connections alive on both sides, and are loaded in
turn (A B A B ...), so that drift of the machine falls on both. The figure is the run time of the
proxy's threads (schedstat) over the requests answered; the ratio is taken round by round.

    bench/first_look.py [--rounds 9] [--seconds 4] [--out bench/results/NAME.json]

Needs nginx and wrk (Debian packages) and a release build; Linux only.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GATEWAY, NGINX, HOPWISE, ADMIN = 28112, 28119, 28113, 28114
ANSWER = "x" * 100

NGINX_COMMON = """
worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {server}
}}
"""
GATEWAY_SERVER = """server {{ listen 127.0.0.1:{port} backlog=4096;
  location / {{ add_header X-Duration-Seconds 0.001; return 200 "{answer}"; }} }}"""
PROXY_SERVER = """upstream gateway {{ server 127.0.0.1:{gateway}; keepalive 256;
    keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=4096;
  location / {{ proxy_pass http://gateway; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Proto http; }} }}"""
HOPWISE_CONFIG = """architecture: dynamic
node: {{ id: cloud }}
workers: 1
gateway: "127.0.0.1:{gateway}"
listen: {{ data: "127.0.0.1:{port}", admin: "127.0.0.1:{admin}" }}
topology:
  - {{ id: cloud, role: cloud-controller, zone: cloud, address: 127.0.0.1, port: {port},
      offload: {{ enabled: false }} }}
  - {{ id: edge1, role: edge-controller, zone: edge-A, address: 127.0.0.2 }}
  - {{ id: edge2, role: worker, zone: edge-A, address: 127.0.0.3 }}
"""


def start_nginx(directory: Path, server: str) -> subprocess.Popen:
    directory.mkdir()
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_COMMON.format(dir=directory, server=server))
    return subprocess.Popen(["nginx", "-p", str(directory), "-c", str(conf)])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/function/echo", timeout=1).read()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


def family(pid: int) -> list[int]:
    """The process and its children: nginx works in a child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def run_time_ns(pids: list[int]) -> int:
    files = [f for pid in pids for f in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(f.read_text().split()[0]) for f in files)


def pin(pids: list[int], cpus: str) -> None:
    for pid in pids:
        subprocess.run(["taskset", "-acp", cpus, str(pid)], check=True, capture_output=True)


def load(port: int, seconds: int, cpus: str) -> int:
    command = ["taskset", "-c", cpus, "wrk", "-t1", "-c32", f"-d{seconds}",
               f"http://127.0.0.1:{port}/function/echo"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"the load saw errors:\n{out}")
    return int(re.search(r"(\d+) requests in", out).group(1))


def version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def machine() -> dict:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"],
                            capture_output=True, text=True).stdout.strip()
    return {
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "commit": commit,
        "nginx": version(["nginx", "-v"]),
        "wrk": version(["wrk", "-v"]),
        "rustc": version(["rustc", "--version"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/hopwise")
    options = parser.parse_args()
    for tool in ["nginx", "wrk", "taskset"]:
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install nginx-light wrk util-linux")
    # One core for the proxy under test, the others for load and gateway where there are any.
    cores = os.cpu_count() or 1
    proxy_cpu, load_cpus = str(cores - 1), f"0-{max(cores - 2, 0)}"
    scratch = Path(tempfile.mkdtemp(prefix="hopwise-bench-"))
    processes = []
    try:
        gateway = GATEWAY_SERVER.format(port=GATEWAY, answer=ANSWER)
        proxy = PROXY_SERVER.format(port=NGINX, gateway=GATEWAY)
        processes.append(start_nginx(scratch / "gateway", gateway))
        processes.append(start_nginx(scratch / "proxy", proxy))
        config = scratch / "hopwise.yaml"
        config.write_text(
            HOPWISE_CONFIG.format(port=HOPWISE, admin=ADMIN, gateway=GATEWAY))
        processes.append(subprocess.Popen(
            [str(options.binary), "run", "--config", str(config)], stderr=subprocess.DEVNULL))
        for port in [GATEWAY, NGINX, HOPWISE]:
            wait_for(port)
        pin(family(processes[0].pid), load_cpus)
        proxies = {"nginx": (NGINX, family(processes[1].pid)),
                   "hopwise": (HOPWISE, family(processes[2].pid))}
        for _, pids in proxies.values():
            pin(pids, proxy_cpu)
        rounds = []
        for number in range(options.rounds + 1):
            row = {}
            for name, (port, pids) in proxies.items():
                before = run_time_ns(pids)
                requests = load(port, options.seconds, load_cpus)
                cpu_us = (run_time_ns(pids) - before) / requests / 1000
                row[name] = {"requests": requests, "cpu_us_per_request": round(cpu_us, 3)}
            row["ratio"] = round(row["hopwise"]["cpu_us_per_request"]
                                 / row["nginx"]["cpu_us_per_request"], 4)
            if number:  # the first round warms up
                rounds.append(row)
                print(f"round {number}: {row}", flush=True)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)
        shutil.rmtree(scratch, ignore_errors=True)
    ratios = sorted(row["ratio"] for row in rounds)
    summary = {
        "hopwise_cpu_us": statistics.median(r["hopwise"]["cpu_us_per_request"] for r in rounds),
        "nginx_cpu_us": statistics.median(r["nginx"]["cpu_us_per_request"] for r in rounds),
        "ratio_median": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
    }
    print(json.dumps(summary, indent=2))
    if options.out:
        document = {"command": " ".join(["bench/first_look.py", *sys.argv[1:]]),
                    "machine": machine(), "summary": summary, "rounds": rounds}
        options.out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
