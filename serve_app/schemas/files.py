"""Bodies of files, directories and kept versions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serve_app.schemas.base import Asked
from serve_app.schemas.text import WorkspacePath


class Entry(BaseModel):
    """A line of a directory. Bytes of a name that are no UTF-8 are U+DC80 to U+DCFF, escaped (PEP 383).

    ``encoded``: such a name's bytes, percent-encoded, as they stand in a URL.
    """

    name: str
    type: Literal["file", "directory", "link", "other"]
    size: int
    mtime: float
    mode: int
    target: str | None = None
    encoded: str | None = None


class Tree(BaseModel):
    """A page of a directory, in the order of the names' bytes; ask again with ``after`` = ``next``.

    ``truncated``: more entries follow.
    """

    path: str
    entries: list[Entry]
    truncated: bool
    next: str | None = None


class FileVersion(BaseModel):
    """A path's state from a version on. ``content`` is the same for the same bytes."""

    version: int
    at: float
    type: Literal["file", "directory", "link", "deleted"]
    size: int
    mode: int
    content: str | None = None


class History(BaseModel):
    """The kept versions of a path, the newest first."""

    versions: list[FileVersion]


class Restore(Asked):
    """A file to be put back as it was at a version; ``target``: under another path."""

    path: WorkspacePath
    version: Annotated[int, Field(ge=1)]
    target: WorkspacePath | None = None


class Match(BaseModel):
    """Something that was found: a name with its ``type``, or a ``line`` of a file with its ``text``."""

    path: str
    type: Literal["file", "directory", "link"] | None = None
    line: int | None = None
    text: str | None = None


class Found(BaseModel):
    """A page of what was found. ``stopped_by``: null when all was looked through."""

    matches: list[Match]
    stopped_by: Literal["limit", "time", "bytes"] | None = None
    next: str | None = None


class NotMade(BaseModel):
    """An entry of an archive that was not made, and why."""

    path: str
    reason: str


class Unpacked(BaseModel):
    """What became of an archive: ``made`` entries with ``bytes``, durable as of ``version``.

    ``failed`` are the first 1,000 of those that were not made; ``more_failed`` counts the others.
    """

    path: str
    version: int
    made: int
    bytes: int
    failed: list[NotMade]
    more_failed: int = 0


class Move(Asked):
    """A file or directory to rename."""

    source: WorkspacePath
    target: WorkspacePath
    overwrite: bool = False


class NewDirectory(Asked):
    """A directory to make, with its parents."""

    path: WorkspacePath
