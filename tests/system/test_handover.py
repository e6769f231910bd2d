"""One process takes the place of another, and nobody who calls notices."""

import array
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from origin import Origin
from support.hopwise import CLIENT, Hopwise, single_node
from support.succession import ServiceManager, handover_path, successor, under_load
from support.wait import accepts, eventually, free_port
from support.wire import Closed, Wire, connect, request

POST = request("POST", "/function/echo", body=b"x" * 100)
QUEUED = 40


def answered(wires: list[Wire]) -> int:
    """How many of those who have asked get an answer."""
    count = 0
    for wire in wires:
        try:
            count += wire.response().status == 200
        except (Closed, OSError):
            pass
    return count


def ask(address: tuple[str, int], count: int, stack: ExitStack) -> list[Wire]:
    wires = [stack.enter_context(connect(address, CLIENT)) for _ in range(count)]
    for wire in wires:
        wire.send(POST)
    return wires


@pytest.fixture
def running(origin: Origin, start_hopwise: Callable[..., Hopwise]) -> Iterator[Hopwise]:
    """A process that others can take over from."""
    config = single_node(origin.address, handover={"socket": handover_path()})
    proxy = start_hopwise(config)
    yield proxy
    proxy.process.kill()


def test_those_in_the_queue_of_a_closing_socket_are_lost_with_it(origin: Origin) -> None:
    """What SO_REUSEPORT alone comes to: the reason for all this."""
    address = ("127.0.0.1", free_port())
    older = socket.create_server(address, reuse_port=True, backlog=4096)
    newer = socket.create_server(address, reuse_port=True, backlog=4096)
    with ExitStack() as stack:
        wires = ask(address, QUEUED, stack)
        older.close()
        newer.settimeout(1)
        taken = []
        while len(taken) < QUEUED:
            try:
                taken.append(stack.enter_context(newer.accept()[0]))
            except TimeoutError:
                break
        for sock in taken:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert answered(wires) == len(taken) < QUEUED
    newer.close()


def offer_at(path: str) -> socket.socket:
    """Where the older process is asked; it is there before the newer one looks."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    listener.settimeout(20)
    return listener


def hand_over(listener: socket.socket, sockets: dict[bytes, socket.socket]) -> None:
    """Plays the older process, which takes nobody in: its sockets go to whoever asks."""
    with listener:
        wire, _ = listener.accept()
        with wire:
            wire.sendall(b"1")
            for word, held in sockets.items():
                socket.send_fds(wire, [word], [held.fileno()])
            wire.sendall(b".")
            assert wire.recv(1) == b"r", "it serves"
            for held in sockets.values():
                held.close()
            wire.sendall(b"g")


def test_those_in_the_queue_are_taken_over(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    config = single_node(origin.address, handover={"socket": handover_path()})
    data, admin = (config["listen"][port].split(":") for port in ("data", "admin"))
    sockets = {
        b"d": socket.create_server((data[0], int(data[1])), backlog=4096),
        b"a": socket.create_server((admin[0], int(admin[1]))),
    }
    with ExitStack() as stack:
        wires = ask((data[0], int(data[1])), QUEUED, stack)
        offer = offer_at(config["handover"]["socket"])
        newer = start_hopwise(config, wait=False)
        hand_over(offer, sockets)
        assert answered(wires) == QUEUED
        newer.wait_ready()


def test_changes_under_load_lose_nothing(running: Hopwise) -> None:
    with under_load(running.data) as tally:
        for number in range(5):
            before = tally.answered
            successor(running, f"newer-{number}")
            assert running.json("GET", "/load"), "the admin port has moved too"
            eventually(lambda before=before: tally.answered > before + 50, "there was load")
    assert tally.failed == []


def test_a_service_that_is_ended_while_it_changes_hands_answers_what_runs(
    running: Hopwise,
) -> None:
    """A service manager tells all processes of a service to end, those that drain as well."""
    with connect(running.data, CLIENT) as wire:
        wire.send(request("POST", "/function/sleep?seconds=2"))
        older = running.process
        newer = successor(running, "newer", wait=False)
        eventually(lambda: "draining" in older.output(), "the older one drains")
        for process in (older, newer):
            process.signal(signal.SIGTERM)
        assert wire.response().status == 200
        assert older.wait(20) == 0 and newer.wait(20) == 0


def test_a_newer_process_may_have_more_or_fewer_workers(running: Hopwise) -> None:
    with under_load(running.data) as tally:
        for number, workers in enumerate((1, 5, 2)):
            running.write({**running.config, "workers": workers})
            before = tally.answered
            successor(running, f"newer-{number}")
            eventually(lambda before=before: tally.answered > before + 50, "there was load")
    assert tally.failed == []


def test_one_that_cannot_start_changes_nothing(running: Hopwise) -> None:
    good = running.file.read_text()
    with under_load(running.data) as tally:
        for number, text in enumerate(("architecture: anarchic\n", "{", good + "\nworkerz: 1\n")):
            running.write(text)
            assert successor(running, f"bad-{number}", wait=False).wait(20) not in (0, 101, 134)
        taken = dict(running.config["listen"], data="127.0.0.1:1", admin=running.config["gateway"])
        running.write({**running.config, "listen": taken})
        assert successor(running, "port-taken", wait=False).wait(20) not in (0, 101, 134)
        running.write(good)
        eventually(lambda: tally.answered > 100, "there was load")
        assert running.process.is_running()
        successor(running, "good")
    assert tally.failed == []


def take_and(address: str, then: bytes) -> int:
    """Takes the sockets as a newer process does, says `then`, and crashes."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(address)
        wire.settimeout(10)
        taken = 0
        while True:
            data, control, _, _ = wire.recvmsg(1, socket.CMSG_SPACE(4))
            for _, _, descriptors in control:
                numbers = array.array("i", descriptors)
                taken += len(numbers)
                for number in numbers:
                    socket.socket(fileno=number).close()
            if data == b".":
                break
        wire.sendall(then)
    return taken


@pytest.mark.parametrize("then", [b"", b"?"], ids=["crash", "nonsense"])
def test_one_that_fails_halfway_changes_nothing(running: Hopwise, then: bytes) -> None:
    with under_load(running.data) as tally:
        for _ in range(3):
            assert take_and(running.config["handover"]["socket"], then) == 3
        eventually(lambda: tally.answered > 100, "there was load")
        assert running.process.is_running()
        successor(running, "good")
    assert tally.failed == []


def test_sigusr2_starts_the_newer_process(running: Hopwise) -> None:
    with under_load(running.data) as tally:
        running.process.signal(signal.SIGUSR2)
        assert running.process.wait(40) == 0
        eventually(lambda: tally.answered > 100, "there was load")
        assert "took over from the process before" in running.output()
    assert tally.failed == []
    assert running.call("GET", "/function/echo").status == 200
    end_the_one_at(running)


def test_sigusr2_with_a_bad_file_changes_nothing(running: Hopwise) -> None:
    running.write("architecture: anarchic\n")
    running.process.signal(signal.SIGUSR2)
    eventually(lambda: "the newer process has ended" in running.output(), "it is told")
    assert running.call("GET", "/function/echo").status == 200
    assert running.process.is_running()


def end_the_one_at(proxy: Hopwise) -> None:
    """Ends a process that is not our child: the one that listens."""
    pid = int(proxy.output().rpartition("process=")[2].split()[0])
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not accepts(*proxy.data), "it ends")


def test_two_sidecars_on_one_port_remain_an_error(
    running: Hopwise, start_hopwise: Callable[..., Hopwise]
) -> None:
    config = {**running.config, "handover": {"socket": handover_path()}}
    other = start_hopwise(config, wait=False)
    assert other.process.wait(20) not in (0, 101, 134)
    assert "cannot listen" in other.output()
    assert running.process.is_running()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    data, admin = free_port("127.0.0.2"), free_port("127.0.0.2")
    started = ServiceManager(tmp_path, ("127.0.0.2", data), ("127.0.0.1", admin))
    yield started
    started.close()


def managed(origin: Origin, manager: ServiceManager, **changes: object) -> Hopwise:
    data, admin = (held.getsockname() for held in manager.sockets)
    config = single_node(origin.address, **changes)
    config["listen"] = {"data": f"{data[0]}:{data[1]}", "admin": f"{admin[0]}:{admin[1]}"}
    return Hopwise(config, manager.directory, start=False)


def test_a_service_manager_that_watches_is_told_that_it_turns(
    origin: Origin, manager: ServiceManager
) -> None:
    proxy = managed(origin, manager, workers=2)
    process = manager.start("watched", "--config", str(proxy.file), watch_us=400_000)
    assert manager.heard() == ["READY=1"]
    assert [manager.heard() for _ in range(5)] == [["WATCHDOG=1"]] * 5
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_a_service_manager_holds_the_sockets(origin: Origin, manager: ServiceManager) -> None:
    """While no process runs, clients wait; and it is told what goes on."""
    proxy = managed(origin, manager)
    with under_load(proxy.data) as tally:
        for number in range(3):
            process = manager.start(f"managed-{number}", "--config", str(proxy.file))
            assert manager.heard() == ["READY=1"]
            before = tally.answered
            eventually(lambda before=before: tally.answered > before + 50, "there was load")
            process.signal(signal.SIGHUP)
            reloading, since = manager.heard()
            assert reloading == "RELOADING=1" and since.startswith("MONOTONIC_USEC=")
            assert manager.heard() == ["READY=1"]
            process.signal(signal.SIGTERM)
            assert manager.heard() == ["STOPPING=1"]
            assert process.wait(20) == 0
        process = manager.start("managed-last", "--config", str(proxy.file), names="x:y")
        assert manager.heard() == ["READY=1"]
    assert tally.failed == []
    process.stop()


def test_a_service_manager_follows_the_newer_process(
    origin: Origin, manager: ServiceManager
) -> None:
    proxy = managed(origin, manager, handover={"socket": handover_path()})
    process = manager.start("managed", "--config", str(proxy.file))
    assert manager.heard() == ["READY=1"]
    process.signal(signal.SIGUSR2)
    (main,) = manager.heard()
    assert main.startswith("MAINPID=")
    assert manager.heard() == ["READY=1"]
    assert process.wait(20) == 0
    os.kill(int(main.partition("=")[2]), signal.SIGTERM)
    assert manager.heard() == ["STOPPING=1"], "only the last one stops the service"


def test_an_idle_connection_has_its_next_request_answered(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    timeouts = {"drain_ms": 20_000, "drain_idle_ms": 10_000}
    proxy = start_hopwise(single_node(origin.address, timeouts=timeouts))
    with connect(proxy.data, CLIENT) as used, connect(proxy.data, CLIENT) as fresh:
        used.send(POST)
        first = used.response()
        assert first.status == 200 and first.value("connection") is None
        proxy.process.signal(signal.SIGTERM)
        eventually(lambda: not accepts(*proxy.data), "it drains")
        for wire in (used, fresh):
            wire.send(POST)
            response = wire.response()
            assert response.status == 200 and response.value("connection") == "close"
            assert wire.is_closed_by_peer()
    begun = time.monotonic()
    assert proxy.process.wait(20) == 0
    assert time.monotonic() - begun < 8, "nobody is left to wait for"


def test_idle_connections_do_not_keep_it_for_long(
    origin: Origin, start_hopwise: Callable[..., Hopwise]
) -> None:
    timeouts = {"drain_ms": 60_000, "drain_idle_ms": 300, "request_header_ms": 60_000}
    proxy = start_hopwise(single_node(origin.address, timeouts=timeouts))
    with connect(proxy.data, CLIENT) as used, connect(proxy.data, CLIENT) as fresh:
        used.send(POST)
        assert used.response().status == 200
        proxy.process.signal(signal.SIGTERM)
        assert used.is_closed_by_peer() and fresh.is_closed_by_peer()
        assert proxy.process.wait(20) == 0
