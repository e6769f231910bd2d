"""Changes under load, the way out, and the command line."""

import itertools
import json
import math
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from origin import Origin
from support.hopwise import CLIENT, Config, Hopwise, binary, single_node
from support.process import Process
from support.wait import accepts, eventually
from support.wire import Closed, Wire, connect, raw_head, request

MODES = ("centralized", "federated", "decentralized", "dynamic")
# Each mode has thresholds of its own: seeing one with another's is seeing half a change.
SOFT = dict(zip(MODES, (1.11, 1.22, 1.33, 1.44), strict=True))
FILE_RELOADS = 250
CHANGES = 1000


@dataclass
class Seen:
    """What clients and an observer met while things changed."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    configurations: list[tuple[int, str, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def client(proxy: Hopwise, seen: Seen, done: threading.Event, keep_alive: bool) -> None:
    wire: Wire | None = None
    while not done.is_set():
        try:
            if wire is None:
                wire = connect(proxy.data, CLIENT)
            wire.send(request("POST", "/function/echo", body=b"x" * 100))
            response = wire.response()
            problem = "" if response.status == 200 else f"{response.start!r} {response.body!r}"
            if not keep_alive:
                wire.close()
                wire = None
        except (Closed, OSError) as error:
            problem, wire = repr(error), None
        with seen.lock:
            seen.answered += 1
            if problem:
                seen.failed.append(problem)


def observer(proxy: Hopwise, seen: Seen, done: threading.Event) -> None:
    while not done.is_set():
        found = proxy.json("GET", "/configuration")
        row = (found["generation"], found["mode"], found["thresholds"]["soft_d2f"])
        seen.configurations.append(row)


@contextmanager
def under_load(proxy: Hopwise) -> Iterator[Seen]:
    seen, done = Seen(), threading.Event()
    threads = [
        threading.Thread(target=client, args=(proxy, seen, done, i % 2 == 0)) for i in range(6)
    ]
    threads.append(threading.Thread(target=observer, args=(proxy, seen, done)))
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        done.set()
        for thread in threads:
            thread.join()


def paired(config: Config, mode: str) -> Config:
    return {**config, "architecture": mode, "tail_scheduler": {"soft_d2f_threshold": SOFT[mode]}}


def test_file_reloads_under_load_are_never_half_seen(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address, role="cloud-controller"))
    proxy.write(paired(proxy.config, MODES[0]))
    proxy.json("POST", "/reload")
    with under_load(proxy) as seen:
        for number, mode in zip(range(FILE_RELOADS), itertools.cycle(MODES[1:] + MODES[:1])):
            proxy.write(paired(proxy.config, mode))
            if number % 2:
                proxy.json("POST", "/reload", admin=number % 4 == 1)
            else:
                proxy.reload_by_signal()
                eventually(
                    lambda mode=mode: proxy.json("GET", "/configuration")["mode"] == mode,
                    "SIGHUP reads the file",
                )
        eventually(lambda: seen.answered > 100, "there was load")
    assert seen.failed == []
    generations = [generation for generation, _, _ in seen.configurations]
    assert generations == sorted(generations), "generations only grow"
    mixed = [row for row in seen.configurations if SOFT[row[1]] != row[2]]
    assert mixed == []
    by_generation: dict[int, set[tuple[str, float]]] = {}
    for generation, mode, soft in seen.configurations:
        by_generation.setdefault(generation, set()).add((mode, soft))
    assert all(len(values) == 1 for values in by_generation.values()), "one number, one content"
    assert proxy.metrics()["hopwise_config_reload_failures_total"] == 0


def test_1000_mode_and_threshold_changes_under_load(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(origin.address, role="cloud-controller"))
    before = proxy.json("GET", "/configuration")["generation"]
    with under_load(proxy) as seen:
        for number, mode in zip(range(CHANGES // 2), itertools.cycle(MODES)):
            soft = 1.0 + (number + 1) / CHANGES
            proxy.json("POST", "/reload", {"architecture": mode})
            found = proxy.json("POST", "/update_threshold", {"soft_d2f": soft})
            assert math.isclose(found.get("thresholds", found)["soft_d2f"], soft)
            if number % 50 == 0:
                proxy.reload_by_signal()
        eventually(lambda: seen.answered > 100, "there was load")
    assert seen.failed == []
    generations = [generation for generation, _, _ in seen.configurations]
    assert generations == sorted(generations)
    after = proxy.json("GET", "/configuration")["generation"]
    assert after >= before + CHANGES - CHANGES // 100, "each change is a generation of its own"


def slow_call(proxy: Hopwise, seconds: float) -> Wire:
    """An invocation that runs for a while; its answer is still to be read."""
    wire = connect(proxy.data, CLIENT, timeout=60)
    wire.send(raw_head("GET", f"/function/sleep?seconds={seconds}"))
    return wire


def in_flight(origin: Origin, count: int) -> Callable[[], bool]:
    return lambda: sum(1 for r in origin.received if not r.answered) == count


@pytest.fixture
def own_origin() -> Iterator[Origin]:
    started = Origin()
    yield started
    started.stop()


def test_sigterm_lets_what_runs_finish(
    own_origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(own_origin.address, timeouts={"drain_ms": 20_000}))
    running = [slow_call(proxy, 2) for _ in range(5)]
    idle = connect(proxy.data, CLIENT)
    eventually(in_flight(own_origin, 5), "five are running")
    proxy.process.signal(signal.SIGTERM)
    eventually(lambda: not accepts(*proxy.data), "new connections are refused")
    assert proxy.process.is_running(), "it waits for what runs"
    for wire in running:
        response = wire.response()
        assert response.status == 200 and response.body == b'{"slept": true}'
        wire.close()
    assert proxy.process.wait(20) == 0
    idle.close()


def test_a_stream_without_end_ends_at_the_drain_deadline(
    own_origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(own_origin.address, timeouts={"drain_ms": 500}))
    wire = connect(proxy.data, CLIENT)
    wire.send(raw_head("GET", "/function/sse"))
    wire.response_head()
    proxy.process.signal(signal.SIGTERM)
    proxy.process.wait(20)
    with pytest.raises((Closed, OSError)):
        while wire.chunk():
            pass


def test_a_second_signal_ends_at_once(
    own_origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(own_origin.address, timeouts={"drain_ms": 600_000}))
    running = slow_call(proxy, 100)
    eventually(in_flight(own_origin, 1), "one is running")
    proxy.process.signal(signal.SIGTERM)
    eventually(lambda: not accepts(*proxy.data), "it drains")
    assert proxy.process.is_running()
    proxy.process.signal(signal.SIGTERM)
    proxy.process.wait(10)
    running.close()


def test_sigint_ends_too(own_origin: Origin, start_hopwise: Callable[..., Hopwise]) -> None:
    proxy = start_hopwise(single_node(own_origin.address))
    proxy.process.signal(signal.SIGINT)
    assert proxy.process.wait(20) == 0


def test_the_ports_can_be_taken_again_at_once(
    own_origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    proxy = start_hopwise(single_node(own_origin.address))
    for _ in range(3):
        assert proxy.call("GET", "/function/echo").status == 200
        proxy.stop()
        proxy.start()


def command(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binary(), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={"NO_COLOR": "1", "PATH": "/usr/bin:/bin"},
    )


def test_check_accepts_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "good.yaml"
    file.write_text(yaml.safe_dump(single_node(("127.0.0.1", 31112))))
    done = command("check", "--config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


EARLIER_FILE = """\
architecture: dynamic
node: { id: edge1 }
topology:
  - { id: cloud, role: cloud-controller, zone: cloud, address: 10.0.1.100,
      offload: { enabled: false } }
  - { id: edge1, role: edge-controller, zone: edge-A, address: 10.0.2.100,
      offload: { enabled: true, cpu_thresh: 0.9, load_thresh: 3.0 } }
  - { id: edge2, role: worker, zone: edge-A, address: 10.0.2.101 }
tail_scheduler: { soft_d2f_threshold: 1.5, hard_d2f_threshold: 2.5, soft_f2c_threshold: 1.7,
                  hard_f2c_threshold: 2.7, min_samples: 10, sample_interval: 2 }
"""


def test_check_accepts_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "earlier.yaml"
    file.write_text(EARLIER_FILE)
    done = command("check", "--config", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


WRONG_FILE = """\
architecture: anarchic
node: { id: edge1 }
topology:
  - id: edge1
    role: boss
    zone: edge-A
    address: 10.0.2.100
  - id: edge2
    role: worker
    zone: edge-A
    address: 10.0.2.101
    colour: red
tail_scheduler:
  soft_d2f_threshold: high
"""


def test_check_names_every_problem(tmp_path: Path) -> None:
    """Line, key, value and remedy of all of them in one go; of an unknown key, the known ones."""
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG_FILE)
    done = command("check", "--config", str(file))
    assert done.returncode not in (0, 101, 134), "a refusal, not a crash"
    told = (done.stdout + done.stderr).splitlines()
    for line, key, value, remedy in [
        (1, "architecture", "anarchic", "federated"),
        (5, "role", "boss", "edge-controller"),
        (12, "colour", "", "zone"),
        (14, "soft_d2f_threshold", "high", "number"),
    ]:
        pattern = re.compile(rf"(\b{line}\b.*{key}|{key}.*\b{line}\b)")
        about = [text for text in told if pattern.search(text)]
        assert about, f"nothing about {key} in line {line}: {told}"
        place = told.index(about[0])
        nearby = "\n".join(told[place : place + 3])
        assert value in nearby and remedy in nearby, nearby


@pytest.mark.parametrize("how", ["check", "run"])
def test_a_file_that_is_not_there(how: str, tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    done = command(how, "--config", str(missing))
    assert done.returncode not in (0, 101, 134)
    assert str(missing) in done.stderr + done.stdout


def test_run_refuses_a_wrong_file(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG_FILE)
    done = command("run", "--config", str(file))
    assert done.returncode not in (0, 101, 134)
    assert "anarchic" in done.stderr + done.stdout


def test_a_port_in_use_is_said(own_origin: Origin, tmp_path: Path) -> None:
    config = single_node(own_origin.address, host="127.0.0.1")
    config["listen"]["data"] = f"127.0.0.1:{own_origin.port}"
    config["topology"][0]["port"] = own_origin.port
    config["gateway"] = "127.0.0.1:1"
    proxy = Hopwise(config, tmp_path, wait=False)
    try:
        assert proxy.process.wait(20) not in (0, 101, 134)
    finally:
        proxy.stop()
    assert str(own_origin.port) in proxy.output()


def parsed(output: str) -> Any:
    """The demo's result: the JSON document on its standard output."""
    return json.loads(output[output.index("{") :])


def test_demo_ends_by_itself() -> None:
    done = command("demo", "--requests", "200", "--json", timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    result = parsed(done.stdout)
    assert result["failed"] == 0
    assert "200" in json.dumps(result)


def test_demo_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    demo = Process("demo", [binary(), "demo"], tmp_path, env={"NO_COLOR": "1"})
    try:
        eventually(lambda: demo.output().strip(), "the demo says something", 30)
        time.sleep(2)  # somewhere in the middle
        assert demo.is_running()
        demo.signal(signal.SIGINT)
        assert demo.wait(30) in (0, 130)
    finally:
        demo.kill()
    assert "panicked" not in demo.output()
