"""Clients that say too little, and refusals that come before the body."""

import contextlib
import time

import pytest

from conftest import StartHopwise
from origin import Origin
from support.hopwise import Hopwise, single_node
from support.wait import free_port
from support.wire import connect, raw_head

# Enough for a slow machine to answer in, and little enough to wait for.
HEADER_WAIT_MS = 500


@pytest.mark.parametrize(
    "begun",
    [b"", b"P", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nHost"],
    ids=["nothing", "one byte", "half a preface", "half a head"],
)
def test_a_connection_that_begins_no_request_is_closed(
    begun: bytes, origin: Origin, start_hopwise: StartHopwise
) -> None:
    config = single_node(origin.address)
    config["timeouts"] = {"request_header_ms": HEADER_WAIT_MS}
    hopwise = start_hopwise(config)
    with connect(hopwise.data, timeout=20) as wire:
        wire.send(begun)
        # Until the end, or a reset, since what was begun is left unread; a time-out is an error.
        with contextlib.suppress(ConnectionResetError):
            wire.rest()


@pytest.mark.parametrize("target", ["/function/..", "/load", "/entry/", "/schedule"])
def test_a_refusal_before_the_body_is_heard(target: str, before_origin: Hopwise) -> None:
    """The body is still on its way when the answer is clear."""
    for size in (2, 100_000):
        with connect(before_origin.data, timeout=20) as wire:
            wire.send(raw_head("POST", target, f"Content-Length: {size}"))
            # A connection closed by then takes the first part, resets, and refuses the second.
            for part in (b"x" * (size // 2), b"x" * (size - size // 2)):
                time.sleep(0.02)
                wire.send(part)
            response = wire.response("POST")
            assert response.status in (200, 400, 403, 404, 405), response


def test_two_segments_make_one_invocation_when_the_gateway_is_down(
    start_hopwise: StartHopwise
) -> None:
    """Head first, body later: the answer is the refusal, not a broken connection."""
    hopwise = start_hopwise(single_node(("127.0.0.1", free_port("127.0.0.1"))))
    for _ in range(20):
        with connect(hopwise.data, timeout=20) as wire:
            wire.send(raw_head("POST", "/function/echo", "Content-Length: 100"))
            for _ in range(2):
                time.sleep(0.005)
                wire.send(b"x" * 50)
            response = wire.response("POST")
            assert (response.status, response.value("hopwise-refusal")) == (
                502,
                "gateway_unreachable",
            )


def test_an_upload_that_moves_outlasts_the_wait_for_an_answer(
    origin: Origin, start_hopwise: StartHopwise
) -> None:
    config = single_node(origin.address)
    config["timeouts"] = {"answer_ms": 300}
    hopwise = start_hopwise(config)
    with connect(hopwise.data, timeout=20) as wire:
        wire.send(raw_head("POST", "/function/echo", "Content-Length: 10"))
        for _ in range(10):
            wire.send(b"x")
            time.sleep(0.1)
        assert wire.response("POST").status == 200
    with connect(hopwise.data, timeout=20) as wire:
        wire.send(raw_head("POST", "/function/echo", "Content-Length: 10") + b"x")
        response = wire.response("POST")
        assert (response.status, response.value("hopwise-refusal")) == (504, "gateway_timeout")
