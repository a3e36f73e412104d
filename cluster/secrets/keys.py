"""The keys that seal users' secrets, and sealing itself: AES-256-GCM with a random nonce.

What is sealed is bound to its place (the associated data): a value that somebody who can write in the store
puts under another user, name or host does not open there. No I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actors.core.errors.base import CoditectError
from actors.core.errors.requests import InvalidArgument
from actors.core.records.environment import Binding

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
MAX_KEYS = 16
_NONCE_BYTES = 12


class SecretLocked(CoditectError):
    """A secret does not open: its key is not among the server's, or it was tampered with or moved."""

    code = "secret_locked"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a secret belongs; it opens nowhere else."""

    tenant_id: str
    user_id: str
    name: str
    host: str | None
    binding: Binding | None = None

    @property
    def data(self) -> bytes:
        """The associated data, the same for no two places."""
        place = ["secret", self.tenant_id, self.user_id, self.name, self.host]
        if self.binding is not None:
            place += [self.binding.use, self.binding.username, self.binding.header]
            place.append("https" if self.binding.https else "http")
        return json.dumps(place).encode()


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """Keys by id. The first seals, all open: to rotate, put a new one in front."""

    ids: tuple[str, ...]
    _keys: dict[str, bytes]

    def __repr__(self) -> str:
        return f"SecretKeys({', '.join(self.ids)})"

    @classmethod
    def of(cls, keys: Sequence[bytes]) -> SecretKeys:
        """Return these keys. Raises InvalidArgument when they are none, or too many."""
        if not 0 < len(keys) <= MAX_KEYS or any(len(key) != KEY_BYTES for key in keys):
            raise InvalidArgument(
                "secret_key", f"1 to {MAX_KEYS} keys of {KEY_BYTES} bytes, in base64"
            )
        by_id = {key_id(key): key for key in keys}
        return cls(tuple(by_id), by_id)

    @classmethod
    def parse(cls, text: str) -> SecretKeys:
        """Read keys in base64, by lines or with commas between; ``#`` begins a comment.

        Raises InvalidArgument, which repeats nothing of them.
        """
        lines = (line.partition("#")[0] for line in text.splitlines())
        words = [word for line in lines for word in line.replace(",", " ").split()]
        try:
            return cls.of(
                [base64.b64decode(word.translate(_URL_SAFE), validate=True) for word in words]
            )
        except binascii.Error:
            raise InvalidArgument("secret_key", "a key is not base64") from None

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self.ids[0]

    def seal(self, value: str, place: Place, random_bytes: Callable[[int], bytes]) -> str:
        """Return a value sealed with the current key, in hexadecimal."""
        nonce = random_bytes(_NONCE_BYTES)
        sealed = _cipher(self._keys[self.current]).encrypt(nonce, value.encode(), place.data)
        return (nonce + sealed).hex()

    def open(self, key: str, sealed: str, place: Place) -> str:
        """Return the value. Raises SecretLocked."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as in _cipher

        if key not in self._keys:
            raise SecretLocked(
                f"{place.name} is sealed with the key {key}, which the server does not have"
            )
        try:
            data = bytes.fromhex(sealed)
            cipher = _cipher(self._keys[key])
            return cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], place.data).decode()
        except (InvalidTag, ValueError):
            raise SecretLocked(f"{place.name} was changed or moved outside of the server") from None


def key_id(key: bytes) -> str:
    """Return by what a key is known, which says nothing of it."""
    return hashlib.blake2b(key, digest_size=6, person=b"coditect key").hexdigest()


def encode_key(key: bytes) -> str:
    """Return a key as ``SecretKeys.parse`` takes it."""
    return base64.b64encode(key).decode()


_URL_SAFE = str.maketrans("-_", "+/")


def _cipher(key: bytes) -> AESGCM:
    # Of many actors few ever open a secret, and it takes some megabytes.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM(key)
