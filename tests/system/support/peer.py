"""A sidecar's side of the signature protocol (src/proxy/signature.rs), honest or not."""

import hashlib
import hmac
import secrets

from support.wire import Response, Wire, connect, request


def code(key: bytes, *parts: bytes) -> bytes:
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


class Peer:
    """A connection to the node `id` on which requests are signed with `key`."""

    def __init__(self, address: tuple[str, int], key: bytes, id: str, source: str) -> None:
        self.wire: Wire = connect(address, source)
        self.number = 0
        greeting = secrets.token_bytes(16)
        self.wire.send(
            request("OPTIONS", "/schedule", f"hopwise-signature: greeting {greeting.hex()}")
        )
        self.greeted = self.wire.response("OPTIONS")
        answer = bytes.fromhex(self.greeted.value("hopwise-signature") or "")
        nonces = greeting + answer[:16]
        self.is_proven = answer[16:] == code(key, b"hopwise/2 answer\n", nonces, id.encode())
        self.key = code(key, b"hopwise/2 session\n", nonces, id.encode())

    def signature(self, method: str, target: str, *claims: str) -> str:
        """The signature of the next request."""
        call = dict(claim.split(": ", 1) for claim in claims).get("hopwise-call", "")
        number = self.number.to_bytes(8, "big")
        self.number += 1
        signed = code(self.key, number, f"{method}\n{target}\n{call}".encode())
        return f"hopwise-signature: {signed[:16].hex()}"

    def send(self, data: bytes) -> Response:
        self.wire.send(data)
        return self.wire.response("POST")

    def close(self) -> None:
        self.wire.close()
