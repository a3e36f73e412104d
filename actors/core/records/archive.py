"""Saves and their receipts, and what of a workspace is not archived."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple
from urllib.parse import quote_from_bytes

from actors.core.records.base import Frozen, Record


class Reason(StrEnum):
    """Reasons for which a path of a workspace is not archived, or cannot be put back."""

    QUOTA = "quota"
    UNREADABLE = "unreadable"  # its permissions keep the server's part of the container out, too
    TOO_LARGE = "too_large"
    PATH_TOO_LONG = "path_too_long"
    CHANGING = "changing"  # whenever it was read it changed meanwhile
    EXCLUDED = "excluded"  # by the setting ``workspace_excludes``
    SPECIAL = "special"  # a socket, a pipe or a device
    CONTENT_MISSING = "content_missing"  # the chunk store lacks its bytes, or has others
    NOT_WRITTEN = "not_written"  # the container's disk did not take it


class LeftOut(Frozen):
    """A path, and why it is left out. ``encoded``: its bytes, percent-encoded, if they are no UTF-8."""

    path: str
    encoded: str | None = None
    reason: Reason
    size: int = 0

    @classmethod
    def of(cls, path: bytes, reason: Reason, size: int = 0) -> LeftOut:
        """Return what is shown of a path."""
        try:
            return cls(path=path.decode(), reason=reason, size=size)
        except UnicodeDecodeError:
            text, encoded = path.decode("utf-8", "replace"), quote_from_bytes(path, safe="/")
            return cls(path=text, encoded=encoded, reason=reason, size=size)


class Unarchived(Record):
    """``(tenant, "unarchived", session_id)``: what of a workspace is not archived.

    ``paths`` of it, which would take ``size`` bytes more, have changed since the Unix time ``since`` and
    are kept by nothing but the container's disk. ``resource`` is what its user has too much of, if that
    is a reason. ``by_design`` are others that nobody expects to be kept. ``left_out`` names the first ones.
    """

    session_id: str
    resource: str | None = None
    paths: int
    size: int
    since: float
    by_design: int = 0
    left_out: tuple[LeftOut, ...] = ()

    @property
    def event(self) -> dict[str, Any]:
        """The data of the event ``unarchived``."""
        return self.model_dump(mode="json", exclude={"schema_version", "session_id"})


class Unrestored(Record):
    """``(tenant, "unrestored", session_id)``: what of a workspace cannot be put back for now.

    ``paths`` are how many; ``left_out`` names the first ones.
    """

    session_id: str
    paths: int
    left_out: tuple[LeftOut, ...] = ()


class Kept(NamedTuple):
    """The outcome of keeping paths: the version that has them, but for those ``left_out``."""

    version: int
    left_out: dict[bytes, Reason]


class Receipt(Frozen):
    """The proof that a save is durable: given after commit and never before.

    Of what is not archived it is none, and says so: ``durable`` is false, and ``reason`` why. Then the
    file lies in the workspace alone, and ``version`` is the newest of the workspace.
    """

    path: str
    size: int
    version: int
    etag: str
    durable: bool = True
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class SaveAnswer:
    """A save's receipt but for its version, to be written with the version; ``key`` is its place there."""

    key: str
    token: str
    path: str
    size: int
    etag: str
    digest: str

    def receipt(self, version: int) -> Receipt:
        """Return the receipt."""
        return Receipt(path=self.path, size=self.size, version=version, etag=self.etag)
