"""A resolver that says what a test wants, and the way to make a process ask it."""

import contextlib
import socket
import struct
import threading
from pathlib import Path

# Where nobody else's resolver is.
HOST = "127.0.0.153"
PORT = 53
ADDRESS_SECONDS = 60


class Resolver:
    """Answers any question with one address, while it is not silent."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((HOST, PORT))
        self.address = address
        self.silent = False
        self.asked = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                query, client = self.socket.recvfrom(512)
                if not query:
                    return
                self.asked += 1
                if not self.silent:
                    self.socket.sendto(self.answer(query), client)
            except OSError:
                return

    def answer(self, query: bytes) -> bytes:
        """One address to a question for IPv4; none to others."""
        end = query.index(b"\0", 12) + 5
        is_ipv4 = query[end - 4 : end - 2] == b"\0\1"
        head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(is_ipv4), 0, 0)
        found = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, ADDRESS_SECONDS, 4)
        found += socket.inet_aton(self.address)
        return head + query[12:end] + (found if is_ipv4 else b"")

    def close(self) -> None:
        """Ends it: from now on the kernel refuses who asks."""
        self.silent = True
        # The port is free when nobody waits for a question any more.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()

    @staticmethod
    def command(directory: Path) -> list[str]:
        """Runs what follows where this is the only resolver."""
        file = directory / "resolv.conf"
        file.write_text(f"nameserver {HOST}\noptions timeout:1 attempts:1\n")
        script = f'mount --bind "{file}" /etc/resolv.conf && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh"]
