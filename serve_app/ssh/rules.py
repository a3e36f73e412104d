"""What SSH clients may use, name and bring along. No I/O, no clock.

The algorithms are those that OpenSSH 9 offers by itself: no SHA-1, no CBC, no finite-field groups, no
encrypt-and-MAC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.core.names import DEFAULT_SESSION

KEX = (
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
)
CIPHERS = (
    "chacha20-poly1305@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
)
SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", "", "*"})  # noqa: S104 - compared
MAX_VARIABLES = 64
MAX_VARIABLE = 1024
_VARIABLES = frozenset({"LANG", "LANGUAGE", "COLORTERM", "GIT_PROTOCOL", "NO_COLOR", "TZ"})
_MAX_TERM = 64
_MAX_CELLS = 1000


@dataclass(frozen=True, slots=True)
class SessionById:
    """The session of that id."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SessionByName:
    """The session of that name, of the account with that address."""

    email: str
    name: str = DEFAULT_SESSION


def parse_user(text: str) -> SessionById | SessionByName:
    """Return what the user name of an SSH client means.

    ``ada@example.com`` is the account's default session, ``work/ada@example.com`` the one named ``work``;
    all else is a session's id. A name alone would not do: see docs/design/ssh.md.
    """
    if "@" not in text:
        return SessionById(text)
    # A name has no slash, an address may.
    name, slash, email = text.partition("/")
    if slash and "@" not in name:
        return SessionByName(email, name or DEFAULT_SESSION)
    return SessionByName(text)


def environment(given: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the variables that a client may set, of those that it sent; what is no text is left out."""
    kept = {}
    for name, value in given.items():
        try:
            key, text = name.decode("ascii"), value.decode()
        except UnicodeDecodeError:
            continue
        if (key in _VARIABLES or key.startswith("LC_")) and text.isprintable():
            kept[key] = text
    return kept


def terminal_type(text: str) -> str:
    """Return a usable ``TERM``."""
    usable = 0 < len(text) <= _MAX_TERM and all(char.isalnum() or char in "-+._" for char in text)
    return text if usable and text.isascii() else "xterm-256color"


def terminal_size(cols: int, rows: int) -> tuple[int, int]:
    """Return columns and rows within what a terminal here may have; 80 and 24 where none were said."""
    return min(cols or 80, _MAX_CELLS), min(rows or 24, _MAX_CELLS)
