"""One bed: hosts, gateways, and whatever decides between them and the users."""

import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

from . import balancers, policies
from .hosts import BY_NAME, EDGE, NODES, USERS, Hosts, Process, delay_ms, within

STORE_PORT = 31190
READY_S = 15
#: How much longer than its delay a way may take, in one of so many tries.
WAY_MS, WAY_TRIES = 5, 20
DECISION = re.compile(r'^hopwise_decisions_total\{([^}]*)\} (\S+)$', re.MULTILINE)
ENTRIES = {"single": [BY_NAME["edge1"]], "distributed": EDGE}


class Bed:
    """Hosts and gateways stay; deciders are new for each cell."""

    def __init__(self, number, programs, scratch, options):
        self.programs, self.options = programs, options
        self.scratch = scratch / f"bed{number}"
        self.scratch.mkdir(parents=True)
        self.hosts, self.gateways, self.deciders = None, {}, {}
        try:
            self.hosts = Hosts(number, programs["bed"], self.scratch)
            for node in NODES:
                self.start_gateway(node)
            for node in NODES:
                self.wait_for(node, balancers.GATEWAY_PORT)
            self.check_ways()
        except BaseException:
            self.stop()
            raise

    def run(self, node, name, command, **more):
        return Process(self.hosts.name(node), command, self.scratch / f"{node.name}-{name}.log",
                       **more)

    def start_gateway(self, node):
        store = f"{BY_NAME['edge1'].address}:{STORE_PORT}"
        command = [self.programs["bed"], "gateway", "--node", node.name, "--cores", node.cores,
                   "--listen", f"0.0.0.0:{balancers.GATEWAY_PORT}", "--store", store,
                   "--seed", self.options.seed]
        command += ["--serve-store", f"0.0.0.0:{STORE_PORT}"] if node.name == "edge1" else []
        command += ["--compute"] if self.options.compute else []
        if self.options.compute:
            command = quota(node, self.hosts.number, command)
        self.gateways[node] = self.run(node, "gateway", command, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, urgent=not self.options.compute)

    def start_decider(self, node, policy):
        if policy in policies.HOPWISE:
            path = self.scratch / f"{node.name}.yaml"
            path.write_text(policies.configuration(policy, node, self.options.compute))
            command = [self.programs["hopwise"], "run", "--config", path]
        else:
            directory = self.scratch / f"{node.name}-balancer"
            shutil.rmtree(directory, ignore_errors=True)
            command = balancers.command(policy, directory, self.programs)
        self.deciders[node] = self.run(node, "decider", command)

    def start_deciders(self, policy, entries):
        """A sidecar on every node, or a balancer at every entry; the port that users call."""
        is_hopwise = policy in policies.HOPWISE
        port = policies.PORT if is_hopwise else balancers.PORT
        for node in NODES if is_hopwise else entries:
            self.start_decider(node, policy)
        for node in self.deciders:
            self.wait_for(node, port)
        return port

    def stop_deciders(self):
        for process in self.deciders.values():
            process.popen.send_signal(signal.SIGKILL if process.name == "hopwise" else
                                      signal.SIGTERM)
        for process in self.deciders.values():
            process.stop(signal.SIGTERM)
        self.deciders = {}

    def wait_for(self, node, port, path="/healthz"):
        """Until it answers."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                return self.get(node, port, path)
            except (OSError, http.client.HTTPException):
                process = self.deciders.get(node, self.gateways[node])
                if time.monotonic() > deadline or process.popen.poll() is not None:
                    log = process.log.read_text(errors="replace")[-1000:]
                    raise TimeoutError(f"{process.name} of {node.name} does not answer at port "
                                       f"{port}: {log}") from None
                time.sleep(0.05)

    def get(self, node, port, path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        within(self.hosts.name(node), connection.connect)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def check_ways(self):
        """Whether a connection takes the time from each node to each that it should."""
        for one in NODES:
            for other in NODES:
                wanted = 2 * delay_ms(one, other) if one != other else 0
                for _ in range(WAY_TRIES):
                    took = self.connects_in_ms(one, other)
                    if -0.5 < took - wanted < WAY_MS:
                        break
                else:
                    raise RuntimeError(f"a connection from {one.name} to {other.name} took "
                                       f"{took:.1f} ms in place of {wanted} ms: is the machine busy?")

    def connects_in_ms(self, one, other):
        def connect():
            began = time.perf_counter()
            socket.create_connection((other.address, balancers.GATEWAY_PORT), READY_S).close()
            return 1000 * (time.perf_counter() - began)
        return within(self.hosts.name(one), connect)

    def architectures(self, entries):
        """How many invocations each architecture has decided, where they came in."""
        found = Counter()
        for node in entries:
            # One that was killed and has just been started again may not be there yet.
            text = self.wait_for(node, policies.ADMIN_PORT, "/metrics")
            for labels, value in DECISION.findall(text):
                label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
                found[label.get("architecture", "?")] += int(float(value))
        return dict(found)

    def start_load(self, job, port, out):
        entries = ENTRIES[job.entry]
        command = [self.programs["bed"], "users", "--function", job.function,
                   "--users", job.users, "--invocations", job.invocations,
                   "--warm-up", job.warm_up, "--seed", self.options.seed, "--out", out]
        for node in entries:
            command += ["--entry", f"{node.address}:{port}"]
        return Process(self.hosts.name(USERS), command, self.scratch / "users.log",
                       urgent=True, stdout=subprocess.PIPE)

    def lateness(self):
        """Of the router, and of the gateways: the worst of them. Counting starts anew."""
        gateways = [self.gateways[node].ask(stats=True)["lateness"] for node in NODES]
        worst = {key: max(gateway[key] for gateway in gateways) for key in gateways[0]}
        router = self.hosts.ask_router(stats=True)
        return {"router": router["lateness"], "gateways": worst, "dropped": router["dropped"]}

    def waited_s(self):
        """Seconds for which the deciders were ready to run and had no core, since they began."""
        found = [path.read_text().split()[1]
                 for decider in self.deciders.values()
                 for process in family(decider.popen.pid)
                 for path in Path(f"/proc/{process}/task").glob("*/schedstat")]
        return sum(map(int, found)) / 1e9

    def measure(self, job, out, faults, stopping):
        """One cell: what the users say, and what else is known of it."""
        entries = ENTRIES[job.entry]
        port = self.start_deciders(job.policy, entries)
        try:
            self.lateness()
            before_s = self.waited_s()
            load = self.start_load(job, port, out)
            try:
                while load.popen.poll() is None and not stopping.is_set():
                    if faults:
                        faults.step(self)
                    time.sleep(0.05)
            finally:
                load.stop()
                if faults:
                    faults.end(self)
            if stopping.is_set():
                return None
            if load.popen.returncode:
                raise RuntimeError(f"users failed: {load.log.read_text()[-500:]}")
            said = json.loads(load.popen.stdout.read())
            said["lateness"] = {"users": said["lateness"], **self.lateness()}
            # One that was killed has taken what it waited with it.
            waited_s = max(0.0, self.waited_s() - before_s)
            said["waited_ms"] = 1e3 * waited_s / (said["warm_up"] + said["invocations"])
            if job.policy in policies.HOPWISE:
                said["architectures"] = self.architectures(entries)
            return said
        finally:
            self.stop_deciders()

    def stop(self):
        self.stop_deciders()
        for process in self.gateways.values():
            process.stop(signal.SIGKILL)
        if self.hosts:
            self.hosts.stop()


def family(pid):
    """A process and its children: `ip netns exec` is replaced by its command, nginx works in a child."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [pid, *map(int, children)]


def quota(node, number, command):
    """The same command with the node's share of processor time."""
    period = 100_000
    for root, file, text in [
            (Path("/sys/fs/cgroup/cpu"), "cpu.cfs_quota_us", str(node.cores * period)),
            (Path("/sys/fs/cgroup"), "cpu.max", f"{node.cores * period} {period}")]:
        group = root / f"hopwise-bed{number}-{node.name}"
        if not root.is_dir():
            continue
        group.mkdir(exist_ok=True)
        if (group / file).exists():
            (group / file).write_text(text)
            return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh",
                    *map(str, command)]
        group.rmdir()
    raise OSError("--compute needs cgroups with a CPU quota")
