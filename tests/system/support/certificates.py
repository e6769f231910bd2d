"""Certificates, made with the commands of config/tls/README.md, and clients that show them."""

import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.wire import Response, Wire, request

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def openssl(*arguments: str | Path, data: bytes = b"") -> bytes:
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate, and of the CA whose certificates its holder trusts."""

    certificate: Path
    key: Path
    ca: Path

    def section(self) -> dict[str, str]:
        """What stands below `tls` for it."""
        files = {"certificate_file": self.certificate, "key_file": self.key, "ca_file": self.ca}
        return {name: str(path) for name, path in files.items()}

    def replace_by(self, other: "Certificate") -> None:
        """Puts another in the same files, each at once, the key first."""
        for new, old in ((other.key, self.key), (other.certificate, self.certificate)):
            beside = old.with_suffix(".new")
            shutil.copy(new, beside)
            beside.replace(old)


class Authority:
    """A CA of its own."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name
        self.ca = directory / f"{name}.pem"
        self.ca_key = directory / f"{name}.key"
        openssl(
            "req", "-x509", *CURVE, "-days", "3650", "-subj", "/CN=hopwise",
            "-keyout", self.ca_key, "-out", self.ca,
        )  # fmt: skip

    def issue(self, id: str, days: int = 365, file: str = "") -> Certificate:
        stem = f"{self.name}-{file or id}"
        issued = Certificate(
            self.directory / f"{stem}.pem", self.directory / f"{stem}.key", self.ca
        )
        asked = openssl(
            "req", *CURVE, "-keyout", issued.key, "-subj", f"/CN={id}",
            "-addext", f"subjectAltName=DNS:{id}",
        )  # fmt: skip
        openssl(
            "x509", "-req", "-days", str(days), "-CA", self.ca, "-CAkey", self.ca_key,
            "-CAcreateserial", "-copy_extensions", "copy", "-out", issued.certificate,
            data=asked,
        )  # fmt: skip
        return issued

    def context(
        self, shown: Certificate | None = None, protocols: tuple[str, ...] = ("http/1.1",)
    ) -> ssl.SSLContext:
        """A client that trusts this CA, and shows a certificate of this or any other."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.set_alpn_protocols(list(protocols))
        if shown is not None:
            context.load_cert_chain(shown.certificate, shown.key)
        return context


def connect(
    address: tuple[str, int], context: ssl.SSLContext, name: str, source: str | None = None
) -> Wire:
    bind = (source, 0) if source else None
    sock = socket.create_connection(address, timeout=20, source_address=bind)
    try:
        return Wire(context.wrap_socket(sock, server_hostname=name))
    except BaseException:
        sock.close()
        raise


def fetch(
    address: tuple[str, int],
    context: ssl.SSLContext,
    name: str,
    method: str,
    target: str,
    *headers: str,
    body: bytes = b"",
    source: str | None = None,
) -> Response:
    """One exchange on an encrypted connection of its own."""
    with connect(address, context, name, source) as wire:
        wire.send(request(method, target, *headers, body=body))
        return wire.response(method)
