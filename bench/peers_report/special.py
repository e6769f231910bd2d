"""What is measured in another way than by a load on each proxy in turn."""

import socket
import time

from .bench import PROXY_CPU, SATURATED, SPARE_CPU, Scenario
from .proxies import HERE, Sidecar, node_line

IDLE_CLIENTS = 1000
REQUEST = b"GET /function/echo HTTP/1.1\r\nHost: gateway\r\n\r\n"
# What a window of 60 s needs to forget what was before.
WINDOW_S = 61
BURST = Scenario("burst", "a burst of 3 000 requests", ("closed", "--connections", 32))
BURST_REQUESTS, FILL_REQUESTS = 3000, 50000
CHAIN = "two sidecars, no hop"
TWO_WORKERS = Scenario("scaling", "saturated, 64 connections", ("closed", "--connections", 64))


def memory(bench, round_number, peer):
    """Resident memory of a new process, and with clients that have asked once and stay."""
    process = bench.proxies.start(f"{peer}:memory", PROXY_CPU)
    time.sleep(0.5)
    fresh = process.rss_kib()
    clients = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(IDLE_CLIENTS)]
    for client in clients:
        client.sendall(REQUEST)
        client.recv(4096)
    time.sleep(0.5)
    idle = process.rss_kib()
    ended = 0
    for client in clients:
        client.setblocking(False)
        try:
            ended += client.recv(1) == b""
        except BlockingIOError:
            pass
        client.close()
    row = {"round": round_number, "scenario": "memory", "peer": peer, "fresh_kib": fresh,
           "idle_clients_kib": idle, "clients": IDLE_CLIENTS - ended}
    if ended:
        bench.warn(row, f"{ended} idle clients were closed")
    bench.rows.append(row)
    bench.proxies.stop(process)


class Scaling:
    """One worker against two on two cores."""

    def __init__(self, bench):
        self.bench = bench
        self.one = bench.proxies.start("hopwise:one", PROXY_CPU)
        cpus = f"{SPARE_CPU},{PROXY_CPU}"
        self.two = bench.proxies.start("hopwise:two", cpus, Sidecar(workers=2))

    def measure(self, round_number):
        self.bench.measure(round_number, TWO_WORKERS, "one worker", [self.one])
        self.bench.measure(round_number, TWO_WORKERS, "two workers", [self.two])


def start_pair(proxies, key_file="", wrapped=()):
    """Two sidecars: the first asks the second to place, which runs it, as the hop limit is reached."""
    first = proxies.next_port
    lines = [node_line("edge", "worker", "zone0", HERE, first),
             node_line("cloud", "cloud-controller", "zone1", "127.0.0.10", first + 1)]
    return [proxies.start(f"hopwise:{node}", PROXY_CPU, Sidecar(
        node=node, architecture="centralized", hop_limit=1, topology="\n".join(lines),
        key_file=key_file), wrapped) for node in ["edge", "cloud"]]


def start_chain(proxies, wrapped=()):
    """Two sidecars that know nothing of each other: the second is the first one's gateway."""
    second = proxies.next_port + 1
    return [proxies.start(f"hopwise:{place}", PROXY_CPU, sidecar, wrapped) for place, sidecar in
            [("before", Sidecar(gateway=second)), ("behind", Sidecar())]]


class ExtraHop:
    """Sidecar, sidecar, gateway: both sidecars on the same core, so that both are saturated."""

    def __init__(self, bench, scratch):
        self.bench = bench
        key = scratch / "key"
        key.write_text("a key of this benchmark\n")
        self.single = bench.proxies.start("hopwise:single", PROXY_CPU)
        self.chain = start_chain(bench.proxies)
        self.pairs = {"two passes": start_pair(bench.proxies),
                      "two passes, signed": start_pair(bench.proxies, str(key))}

    def measure(self, round_number):
        scenario = Scenario("hop", "saturated, 32 connections", SATURATED.arguments)
        self.bench.measure(round_number, scenario, "one pass", [self.single])
        self.bench.measure(round_number, scenario, CHAIN, self.chain)
        for name, pair in self.pairs.items():
            before = pair[1].used()[0]
            row = self.bench.measure(round_number, scenario, name, pair)
            # Whoever does nothing was not asked, and then this is no second hop.
            if pair[1].used()[0] - before < 1e6:
                self.bench.warn(row, "the second sidecar was not asked")


class Window:
    """The cost of a request with few samples in the window, and with many."""

    def __init__(self, bench):
        self.bench = bench
        self.process = bench.proxies.start("hopwise:window", PROXY_CPU)
        # Its code is warm, and all that follows finds the windows empty again.
        self.fill()

    def fill(self):
        self.bench.generate(self.process.port, BURST, "--requests", FILL_REQUESTS, "--seconds", 20)
        self.filled = time.monotonic()

    def measure(self, round_number):
        time.sleep(max(0.0, self.filled + WINDOW_S - time.monotonic()))
        for name in ["few samples", "50 000 samples"]:
            self.bench.measure(round_number, BURST, name, [self.process],
                               "--requests", BURST_REQUESTS)
            if name == "few samples":
                self.fill()
