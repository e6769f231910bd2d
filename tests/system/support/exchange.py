"""Plays one case against an address and keeps what both ends saw."""

import itertools
from dataclasses import dataclass

from origin import Origin, Received, scripted
from support.cases import Case
from support.compare import Comparable, comparable_request, comparable_response
from support.hopwise import CLIENT
from support.wire import Response, connect

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Exchange:
    received: Received
    response: Response
    case: Case

    @property
    def as_request(self) -> Comparable:
        had_host = b"\r\nhost:" in self.case.request.lower()
        return comparable_request(self.received, had_host)

    @property
    def as_response(self) -> Comparable:
        old_server = self.case.response.startswith(b"HTTP/1.0")
        return comparable_response(self.response, self.case.is_http_1_0, old_server)


def new_run() -> str:
    return f"run-{next(_numbers):06}"


def play(case: Case, address: tuple[str, int], origin: Origin) -> Exchange:
    """One exchange on a connection of its own, from an address that is no peer's."""
    run = new_run()
    origin.scripts[run] = scripted(case.response, keep_alive=not case.closes)
    try:
        with connect(address, CLIENT) as wire:
            wire.send(case.with_run(run))
            response = wire.response(case.method)
    finally:
        del origin.scripts[run]
    return Exchange(origin.seen(run), response, case)
