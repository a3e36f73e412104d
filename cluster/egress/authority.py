"""The authority of a node: vouches to its own containers for hosts whose connections the gateway opens.

Its key never leaves the node's data directory, where its certificate lies as well, which containers trust
from their launch on. The certificates that it gives last for days, in memory alone.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import logging
import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cachetools import LRUCache, TTLCache

from cluster.egress.conversation import Unreached
from cluster.own_files import write_once

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

logger = logging.getLogger(__name__)

_YEARS = dt.timedelta(days=3650)
_SLACK = dt.timedelta(days=1)
"""Clocks of containers are the node's, but for a machine that was asleep."""

_LASTS = dt.timedelta(days=7)
_KEPT_SECONDS = 86400.0
_HOSTS = 8
"""Hosts of a user whose certificates are kept, so that nobody has those of others made again."""

_USERS = 512
_SAY_AGAIN_SECONDS = 60.0
_CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----\n", re.ASCII
)


def file(data_dir: Path) -> Path:
    """Return where key and certificate are."""
    return data_dir / "egress-authority.pem"


def certificate(data_dir: Path, now: float) -> str:
    """Return the authority's certificate, which is made when there is none. Raises OSError."""
    path = file(data_dir)
    if not path.exists():
        write_once(path, _make(now))
    found = _CERTIFICATE.search(path.read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise OSError(f"{path.name} has no certificate: remove it, and containers get a new one")
    return found.group()


class Authority:
    """Makes certificates for hosts. Belongs to one event loop; ``now`` is Unix time."""

    def __init__(self, data_dir: Path, now: Callable[[], float]) -> None:
        self._data_dir = data_dir
        self._now = now
        self._loaded: tuple[EllipticCurvePrivateKey, x509.Certificate] | None = None
        self._loaded_from: tuple[int, int] | None = None
        self._key: EllipticCurvePrivateKey | None = None
        self._users: LRUCache[str, TTLCache[str, ssl.SSLContext]] = LRUCache(_USERS)
        self._said_at = float("-inf")

    def context(self, user_id: str, host: str) -> ssl.SSLContext:
        """Return how to be this host to a user's programs. Raises Unreached where the key cannot be read."""
        try:
            self._load()
            contexts = self._users.get(user_id)
            if contexts is None:
                contexts = self._users[user_id] = TTLCache(_HOSTS, _KEPT_SECONDS, self._now)
            context = contexts.get(host)
            if context is None:
                context = contexts[host] = _context(self._pem(host))
        except OSError as error:
            if self._now() - self._said_at >= _SAY_AGAIN_SECONDS:
                self._said_at = self._now()
                logger.error("no HTTPS is opened to add secrets: %s", error)  # noqa: TRY400
            raise Unreached(f"the server has no certificate for {host}") from None
        return context

    def _pem(self, host: str) -> bytes:
        """Return a key and the certificate for a host."""
        # Of a gateway few ever need it, and it takes some megabytes.
        from cryptography import x509  # noqa: PLC0415
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415

        signer, authority = self._load()
        key = self._key = self._key or ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.fromtimestamp(self._now(), dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(authority.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(now + _LASTS)
            .add_extension(x509.SubjectAlternativeName([_name(host)]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
            .sign(signer, hashes.SHA256())
        )
        return _encoded(key, made)

    def _load(self) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        from cryptography import x509  # noqa: PLC0415 - as above
        from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            load_pem_private_key,
        )

        path = file(self._data_dir)
        if not path.exists():
            certificate(self._data_dir, self._now())
        stat = path.stat()
        found = stat.st_ino, stat.st_mtime_ns
        if self._loaded is None or found != self._loaded_from:
            # Containers that start from now on trust another one.
            self._loaded, self._loaded_from = None, found
            self._users.clear()
            data = path.read_bytes()
            try:
                key = load_pem_private_key(data, None)
                known = x509.load_pem_x509_certificate(data)
            except ValueError as error:
                raise OSError(f"the authority cannot be read: {error}") from None
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise OSError("the authority's key is none of an elliptic curve")
            self._loaded = key, known
        return self._loaded


def _make(now: float) -> str:
    """Return a new authority's key and certificate."""
    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CODITECT egress gateway")])
    begin = dt.datetime.fromtimestamp(now, dt.UTC)
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - _SLACK)
        .not_valid_after(begin + _YEARS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _encoded(key, made).decode()


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509  # noqa: PLC0415 - as above

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _encoded(key: EllipticCurvePrivateKey, made: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415 - as above

    clear = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    return clear + made.public_bytes(s.Encoding.PEM)


def _context(pem: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)  # ssl reads files only
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context
