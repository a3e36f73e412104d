"""Servers of HTTPS on this machine with certificates that nobody knows; one has git repositories."""

from __future__ import annotations

import base64
import datetime as dt
import http.server
import ipaddress
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GIT_BACKEND = Path("/usr/lib/git-core/git-http-backend")


def make_certificate(certificate: Path, *hosts: str) -> Path:
    """Write a certificate for ``localhost`` and further hosts; return the file with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    names += [x509.DNSName(host) for host in hosts]
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate.write_bytes(made.public_bytes(pem))
    both = certificate.with_suffix(".both")
    clear = serialization.NoEncryption()
    both.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, clear) + made.public_bytes(pem)
    )
    return both


def server_context(both: Path) -> ssl.SSLContext:
    """Return how to serve with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


@contextmanager
def secure_web(directory: Path, certificate: Path) -> Iterator[int]:
    """Serve a directory by HTTPS as ``localhost``, with a certificate that is written beside."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    with _serving(handler, server_context(make_certificate(certificate))) as port:
        yield port


@contextmanager
def secure_git(root: Path, password: str, both: Path) -> Iterator[int]:
    """Serve the bare repositories of a directory by HTTPS, to whoever has the password alone."""
    wanted = "Basic " + base64.b64encode(f"git:{password}".encode()).decode()
    handler = type("Handler", (_GitHandler,), {"root": root, "wanted": wanted})
    with _serving(handler, server_context(both)) as port:
        yield port


@contextmanager
def _serving(handler: Callable[..., Any], context: ssl.SSLContext) -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _GitHandler(http.server.BaseHTTPRequestHandler):
    """Git's smart protocol, by way of ``git http-backend`` (a CGI program)."""

    protocol_version = "HTTP/1.1"
    root: Path
    wanted: str

    def do_GET(self) -> None:
        if self.headers.get("authorization") != self.wanted:
            self.send_response(401)
            self.send_header("www-authenticate", 'Basic realm="git"')
            self.send_header("content-length", "0")
            self.end_headers()
            return
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "git",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        done = subprocess.run(
            [str(GIT_BACKEND)], input=self._body(), capture_output=True, env=environment, check=True
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: Any) -> None:
        pass
