"""The hosts of a bed: one network namespace each, joined by TUN devices and a router."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "hopwise-bed"
LOCK = "/run/hopwise-testbed.lock"
TUN = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
CLONE_NEWNET = 0x40000000
MTU = 1500
#: What measures must not wait for what is measured, nor either of them for others.
URGENT, NICE = ["chrt", "--fifo", "10"], ["nice", "-n", "-10"]
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Node:
    name: str
    role: str
    zone: str
    cores: int
    address: str


NODES = [
    Node("cloud", "cloud-controller", "cloud", 4, "10.77.0.1"),
    Node("edge1", "edge-controller", "edge-A", 2, "10.77.0.2"),
    Node("edge2", "worker", "edge-A", 2, "10.77.0.3"),
    Node("edge3", "edge-controller", "edge-B", 2, "10.77.0.4"),
    Node("edge4", "worker", "edge-B", 2, "10.77.0.5"),
]
BY_NAME = {node.name: node for node in NODES}
EDGE = [node for node in NODES if node.zone != "cloud"]
# Where the users are: beside every edge node, so that only ways between nodes take time.
USERS = Node("users", "", "users", 0, "10.77.0.9")
HOSTS = [*NODES, USERS]

WITHIN_ZONE_MS, BETWEEN_ZONES_MS, TO_CLOUD_MS = 10, 20, 60


def delay_ms(one, other):
    """One way."""
    zones = {one.zone, other.zone}
    if "cloud" in zones and len(zones) == 2:
        return TO_CLOUD_MS
    if "users" in zones:
        return 0
    return WITHIN_ZONE_MS if len(zones) == 1 else BETWEEN_ZONES_MS


def ip(*words):
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def refusal():
    """Why no bed can be made here, if so."""
    if os.geteuid() != 0:
        return "it needs root"
    if not Path(TUN).exists():
        return f"there is no {TUN}"
    name = f"{PREFIX}-try"
    try:
        ip("netns", "add", name)
        os.close(tun("hwbtry", name))
    except OSError as error:
        return str(error)
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return None


def alone():
    """Only one run at a time: the next one takes what it finds for remains. Kept until the end."""
    lock = open(LOCK, "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit("another bench/testbed is running; wait for it")
    return lock


def clean():
    """Ends what an earlier run has left behind: the processes in its namespaces, then these."""
    names = [line.split()[0] for line in ip("netns", "list").splitlines() if line]
    for name in (name for name in names if name.startswith(f"{PREFIX}")):
        kill_all(name)
        ip("netns", "delete", name)


def kill_all(namespace):
    """The processes in a namespace of ours."""
    for pid in ip("netns", "pids", namespace).split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass


def tun(device, namespace):
    """A device in the namespace; it lives as long as the descriptor that is given back."""
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN_NO_PI))
    ip("link", "set", device, "netns", namespace)
    return descriptor


def within(namespace, call):
    """What `call` gives back in the namespace; what it opens stays there."""
    result = []

    def enter():
        with open(f"/var/run/netns/{namespace}", encoding="utf-8") as handle:
            if LIBC.setns(handle.fileno(), CLONE_NEWNET):
                result.append(OSError(ctypes.get_errno(), f"cannot enter {namespace}"))
                return
        try:
            result.append(call())
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


class Process:
    """A program in a namespace. It does not outlive the thread that has started it."""

    def __init__(self, namespace, command, log, urgent=False, **more):
        self.name, self.log = Path(str(command[0])).name, log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                ["ip", "netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL",
                 *(URGENT if urgent else NICE), *map(str, command)],
                **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **more})

    def ask(self, **order):
        """Tells a part of the bed something, and reads what it answers to `stats`."""
        self.popen.stdin.write(json.dumps(order).encode() + b"\n")
        self.popen.stdin.flush()
        return json.loads(self.popen.stdout.readline()) if order.get("stats") else None

    def stop(self, how=signal.SIGTERM, seconds=5):
        self.popen.send_signal(how)
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


class Hosts:
    """All namespaces of one bed, and the network between them."""

    def __init__(self, number, program, scratch):
        self.number = number
        self.devices, self.router = [], None
        try:
            for place, host in enumerate(HOSTS):
                self._add(place, host)
            self._route(program, scratch)
        except BaseException:
            self.stop()
            raise

    def name(self, host):
        return f"{PREFIX}{self.number}-{host.name}"

    def _add(self, place, host):
        space, device = self.name(host), f"hwb{self.number}h{place}"
        ip("netns", "add", space)
        self.devices.append(tun(device, space))
        ip("-n", space, "address", "add", f"{host.address}/24", "dev", device)
        ip("-n", space, "link", "set", device, "mtu", MTU, "up")
        ip("-n", space, "link", "set", "lo", "up")

    def _route(self, program, scratch):
        ours, its = socket.socketpair()
        with its:
            self.router = Process(self.name(USERS), [program, "router"], scratch / "router.log",
                                  urgent=True, stdin=its)
        network = {"addresses": [host.address for host in HOSTS],
                   "delays_us": [[1000 * delay_ms(a, b) for b in HOSTS] for a in HOSTS]}
        socket.send_fds(ours, [json.dumps(network).encode()], self.devices)
        # The next order must not run into this message.
        time.sleep(0.3)
        self.line = ours.makefile("rwb")
        ours.close()

    def ask_router(self, **order):
        self.line.write(json.dumps(order).encode() + b"\n")
        self.line.flush()
        return json.loads(self.line.readline()) if order.get("stats") else None

    def cut(self, zone):
        """Lets nothing pass between a zone and other nodes; None: lets everything pass."""
        inside = [i for i, node in enumerate(NODES) if node.zone == zone]
        outside = [i for i, node in enumerate(NODES) if node.zone != zone]
        self.ask_router(cut=[[a, b] for a in inside for b in outside])

    def stop(self):
        if self.router:
            self.router.stop(signal.SIGKILL)
        for device in self.devices:
            os.close(device)
        self.devices = []
        for host in HOSTS:
            subprocess.run(["ip", "netns", "delete", self.name(host)],
                           capture_output=True, check=False)
