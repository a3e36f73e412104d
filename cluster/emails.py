"""E-mail addresses as names of accounts: which are taken, and which are the same. Pure.

The part before the ``@`` is prepared as RFC 8265's UsernameCaseMapped: wide letters become narrow and
large ones small, composed as NFC; invisible and control characters, and directions that make it read
like another, are refused. ``ß`` stays what it is: to fold it to ``ss`` would make two people one. The
domain is a host name of RFC 5891 (UTS #46, non-transitional for the same reason).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import idna
from precis_i18n import get_profile

from actors.core.errors.requests import InvalidArgument

MAX_LOCAL = 64
MAX_ADDRESS = 254
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_LOCAL = get_profile("UsernameCaseMapped")


@dataclass(frozen=True, slots=True)
class Address:
    """An address, as people read it and as accounts are found by it (the domain in ASCII)."""

    shown: str
    key: str


def prepare(email: str) -> Address:
    """Return an address in its prepared forms. Raises InvalidArgument."""
    local, at, domain = email.strip().rpartition("@")
    if not at or not local or "@" in local:
        raise InvalidArgument("email", "an address is name@domain")
    try:
        name = str(_LOCAL.enforce(local))
        host, readable = _host(domain)
    except UnicodeError as error:  # IDNAError is one, too
        raise InvalidArgument("email", f"it has {_reason(error)}") from None
    address = Address(f"{name}@{readable}", f"{name}@{host}")
    if len(name.encode()) > MAX_LOCAL or len(address.key.encode()) > MAX_ADDRESS:
        raise InvalidArgument(
            "email", f"longer than {MAX_LOCAL} bytes before the @, or {MAX_ADDRESS}"
        )
    return address


def key_of(email: str) -> str:
    """Return what the account of an address is found by, whatever the address.

    One that would not be taken now may be an account's from before that was checked.
    """
    try:
        return prepare(email).key
    except InvalidArgument:
        return legacy_key(email)


def legacy_key(email: str) -> str:
    """Return what the account of an address was found by in an earlier release."""
    return email.strip().casefold()


def _host(domain: str) -> tuple[str, str]:
    """Return a host name in ASCII and as people read it. Raises UnicodeError."""
    lower = domain.lower()
    if domain.isascii() and "xn--" not in lower:
        if not _HOST.fullmatch(lower):
            raise idna.IDNAError("no host name after the @")
        return lower, lower
    encoded = idna.encode(domain, uts46=True, std3_rules=True).decode()
    if not _HOST.fullmatch(encoded):
        raise idna.IDNAError("no host name after the @")
    return encoded, idna.decode(encoded)


def _reason(error: UnicodeError) -> str:
    if isinstance(error, UnicodeEncodeError):
        kind = error.reason.rpartition("/")[2].replace("_", " ")
        return f"characters that no address has here ({kind})"
    return str(error)
