"""The certificates by which the nodes of a server know each other, made at its first start.

An authority is made, signs a certificate for the head and one for all other nodes, and is thrown away: nobody
can be given another one. Each goes with its key into a file of the data directory, below ``cluster``. The
nodes' is what an operator carries to a machine that is to join. Removing the directory makes all of it anew,
and shuts out who has the old file.
"""

from __future__ import annotations

import os
import ssl
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from actors.core.errors.base import Unavailable
from actors.core.errors.requests import InvalidArgument

HEAD_NAME = "head.coditect.internal"
"""What the head's certificate is for: nodes find it at an address, and know it by this name."""

LIFE = timedelta(days=7300)
_EARLIER = timedelta(days=2)  # clocks of two machines differ
_LARGEST = 64 << 10
_END = "-----END CERTIFICATE-----\n"


def directory(data_dir: Path) -> Path:
    """Return where a server's certificates are."""
    return data_dir / "cluster"


def head_file(data_dir: Path) -> Path:
    """Return the head's key and certificate, with the authority's."""
    return directory(data_dir) / "head.pem"


def node_file(data_dir: Path) -> Path:
    """Return the same of all other nodes: the file by which they join."""
    return directory(data_dir) / "node-token.pem"


def make(data_dir: Path, now: datetime) -> None:
    """Make the certificates unless they are there. Raises Unavailable when they cannot be written."""
    if head_file(data_dir).exists() and node_file(data_dir).exists():
        return
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, now)
    own = (
        (node_file(data_dir), "node", ExtendedKeyUsageOID.CLIENT_AUTH),
        (head_file(data_dir), HEAD_NAME, ExtendedKeyUsageOID.SERVER_AUTH),
    )
    try:
        directory(data_dir).mkdir(mode=0o700, exist_ok=True)
        for path, name, use in own:
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = _signed(name, use, key, authority, authority_key, now)
            write(path, _pem(key) + _pem(certificate) + _pem(authority))
    except OSError as error:
        raise Unavailable("cluster", f"{directory(data_dir)}: {error.strerror}") from error


def write(path: Path, text: str) -> None:
    """Write a secret in one step, readable by this user alone. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_token(path: Path) -> str:
    """Return what a file has by which nodes join. Raises InvalidArgument when it is none."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            text = file.read(_LARGEST)
    except OSError as error:
        raise InvalidArgument("token file", f"{path}: {error.strerror}") from None
    if "PRIVATE KEY" not in text or text.count(_END) != 2:
        raise InvalidArgument(
            "token file", f"{path} is not one that `coditect up` makes: cluster/node-token.pem"
        )
    return text


def head_context(data_dir: Path) -> ssl.SSLContext:
    """Return how the head answers: to nodes of its own server alone. Raises Unavailable."""
    return _context(ssl.PROTOCOL_TLS_SERVER, head_file(data_dir))


def node_context(data_dir: Path) -> ssl.SSLContext:
    """Return how a node calls: its own server's head alone. Raises Unavailable."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, node_file(data_dir))


def _context(protocol: int, path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(path)
        # The last one alone: what is one's own is nobody's authority.
        context.load_verify_locations(cadata=path.read_text().split(_END)[-2] + _END)
    except (OSError, IndexError) as error:  # ssl.SSLError is an OSError
        raise Unavailable("cluster", f"{path}: {error}") from error
    return context


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = _name("coditect")
    return (
        _dated(now)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _signed(
    name: str,
    use: ObjectIdentifier,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    public = key.public_key()
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _dated(now)
        .subject_name(_name(name))
        .issuer_name(authority.subject)
        .public_key(public)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(by, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _dated(now: datetime) -> x509.CertificateBuilder:
    number = x509.random_serial_number()
    builder = x509.CertificateBuilder().serial_number(number)
    return builder.not_valid_before(now - _EARLIER).not_valid_after(now + LIFE)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, signs: bool) -> x509.KeyUsage:
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


def _pem(what: ec.EllipticCurvePrivateKey | x509.Certificate) -> str:
    if isinstance(what, x509.Certificate):
        return what.public_bytes(Encoding.PEM).decode()
    return what.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
