"""What may differ between a direct and a proxied message, and nothing else may.

RFC 9110, 7.6: an intermediary owns the fields of the connection, the framing and the version of
each hop, and may order differently named fields as it likes. `X-Forwarded-*` is ours to add.
"""

from dataclasses import dataclass

from origin import Received
from support.wire import Headers, Response, values

CONNECTION_FIELDS = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"transfer-encoding",
    b"upgrade",
}
FORWARDED_FIELDS = {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"}
HARNESS_FIELDS = {b"x-run"}

Fields = dict[bytes, list[bytes]]


@dataclass(frozen=True)
class Comparable:
    """What must be the same on both ways. Names keep their case, same names their order."""

    start: bytes
    fields: Fields
    body: bytes
    trailers: Fields


def end_to_end(headers: Headers, dropped: set[bytes]) -> Fields:
    listed = {
        option.strip().lower()
        for value in values(headers, "connection")
        for option in value.split(b",")
    }
    listed.discard(b"host")
    fields: Fields = {}
    for name, value in headers:
        if name.lower() not in dropped | listed:
            fields.setdefault(name, []).append(value)
    return fields


def lowered(headers: Headers) -> Fields:
    """Trailer fields have no case to keep: HTTP/2 hops in between send them lower-case."""
    fields: Fields = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def comparable_request(received: Received, had_host: bool = True) -> Comparable:
    """`had_host`: where an old client named no host, a newer hop has to."""
    dropped = CONNECTION_FIELDS | FORWARDED_FIELDS | HARNESS_FIELDS
    dropped |= set() if had_host else {b"host"}
    method, target, _version = received.start.split(b" ")
    if target.startswith(b"http://"):
        rest = target.removeprefix(b"http://")
        slash = rest.find(b"/")
        target = rest[slash:] if slash >= 0 else b"/"
    fields = end_to_end(received.headers, dropped)
    return Comparable(method + b" " + target, fields, received.body, lowered(received.trailers))


def comparable_response(
    response: Response, old_client: bool = False, old_server: bool = False
) -> Comparable:
    """Where one end speaks HTTP/1.0, the hops differ in version; and such a client's in framing."""
    fields = end_to_end(response.headers, CONNECTION_FIELDS)
    start = response.start
    if old_client or old_server:
        start = start.partition(b" ")[2]
    if old_client:
        fields = {name: v for name, v in fields.items() if name.lower() != b"content-length"}
    return Comparable(start, fields, response.body, lowered(response.trailers))
