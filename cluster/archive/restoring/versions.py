"""Reads kept versions of files: their history, and their bytes as of any of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from actors.core.errors.requests import InvalidArgument, NotFound
from actors.core.errors.workspaces import ContentMissing
from actors.core.records.archive import LeftOut, Reason, Unrestored
from cluster.archive.restoring.chunk_reader import ChunkReader
from cluster.blobs import Blobs
from cluster.store.engines.interface import Engine
from cluster.store.layers import usage
from cluster.store.layers.entries import Entry, Kind, ManifestHead
from cluster.store.layers.keyspace import Keyspace
from cluster.store.layers.sessions import sessions
from cluster.store.layers.workspaces import chunks, manifests
from cluster.store.layers.workspaces.chunks import Location
from cluster.store.layers.workspaces.manifests import Version
from cluster.store.transactions.transaction import Transaction, transact

MAX_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Past:
    """A path's state as of a version; ``since`` is the version from which it was so."""

    since: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Expected:
    """A path that the newest version has. In a directory other than ``incarnation`` it may be ``missing``."""

    incarnation: str
    missing: ContentMissing


class VersionReader:
    """The kept versions of one tenant's workspaces."""

    def __init__(self, engine: Engine, tenant_id: str, blobs: Blobs) -> None:
        self._engine = engine
        self._keys = Keyspace(tenant_id)
        self._blobs = blobs

    async def history(
        self, workspace_id: str, path: str, *, before: int | None, limit: int
    ) -> list[Version]:
        """Return a path's states, newest first; one without a change of content is left out.

        The path of a file that was never there has none.
        """
        listed: list[Version] = []
        read = min(limit, MAX_LISTED) + 1
        while True:
            work = manifests.history
            found = await transact(
                self._engine, work, self._keys, workspace_id, _raw(path), before=before, limit=read
            )
            # The last one read says of the one before whether it was a change, and is read again.
            for state, older in itertools.pairwise(found):
                if _shown(state.entry) != _shown(older.entry):
                    listed.append(state)
            if len(found) < read:
                listed += found[-1:]
            if len(found) < read or len(listed) >= limit:
                return listed[:limit]
            before = found[-1].version + 1

    async def file(self, workspace_id: str, path: str, version: int) -> Past:
        """Return a file as of a version. Raises NotFound, InvalidArgument for what is no file."""

        async def work(tr: Transaction, keys: Keyspace) -> Past | None:
            at = await manifests.readable(tr, keys, workspace_id, version)
            state = await manifests.lookup(tr, keys, workspace_id, _raw(path), at)
            return Past(*state) if state is not None else None

        past = await transact(self._engine, work, self._keys)
        if past is None or past.entry.kind is Kind.GONE:
            raise NotFound("file", f"{path}@{version}")
        if past.entry.kind is not Kind.FILE:
            raise InvalidArgument("path", "it was no file")
        return past

    async def content(self, workspace_id: str, path: str, entry: Entry) -> AsyncIterator[bytes]:
        """Return a kept file's bytes. Raises ContentMissing when the chunk store does not have them.

        That is looked for first, and the beginning is read: whoever is to answer somebody knows by then.
        What turns out to be damaged further on raises it from the iterator.
        """

        async def locate(names: Sequence[bytes]) -> dict[bytes, Location]:
            find = chunks.locations
            return await transact(self._engine, find, self._keys, workspace_id, names)

        reader = ChunkReader(self._blobs, workspace_id, locate)
        if (reason := await reader.check(entry.chunks)) is not None:
            raise ContentMissing(path, reason)
        content = reader.content(entry)
        try:
            first = await anext(content, b"")
        except ContentMissing as error:
            raise ContentMissing(path, error.reason) from None
        return _begun(first, content)

    async def expected(self, session_id: str, path: str) -> Expected | None:
        """Return what is known of a path that should be in a workspace; None: it should not be there."""
        raw = _raw(path)

        async def work(
            tr: Transaction, keys: Keyspace
        ) -> tuple[ManifestHead, Unrestored | None] | None:
            session = await sessions.get(tr, keys, session_id)
            if session is None:
                return None
            head = await manifests.head(tr, keys, session.workspace_id)
            found = await manifests.current(tr, keys, session.workspace_id, [raw], head.version)
            return (head, await usage.unrestored(tr, keys, session_id)) if raw in found else None

        known = await transact(self._engine, work, self._keys)
        if known is None:
            return None
        head, unrestored = known
        return Expected(head.incarnation, _missing(raw, unrestored))


def _missing(path: bytes, unrestored: Unrestored | None) -> ContentMissing:
    """Return the error for a path that is not put back yet, with the reason as far as it is listed."""
    text = path.decode("utf-8", "surrogateescape")
    listed = unrestored.left_out if unrestored is not None else ()
    reasons = {(left.path, left.encoded): left.reason for left in listed}
    missing = LeftOut.of(path, Reason.CONTENT_MISSING)
    reason = reasons.get((missing.path, missing.encoded))
    if reason is Reason.NOT_WRITTEN:
        return ContentMissing(text, "it cannot be written to the container's disk")
    if reason is not None or (unrestored is not None and unrestored.paths > len(reasons)):
        return ContentMissing(text, "the chunk store does not have all of it")
    return ContentMissing(text, "it is being put back", 1.0)


async def _begun(first: bytes, following: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in following:
        yield part


def _shown(entry: Entry) -> tuple[str, int, str]:
    return entry.kind.value, entry.mode, entry.content


def _raw(path: str) -> bytes:
    raw = path.encode("utf-8", "surrogateescape")
    parts = [part for part in raw.split(b"/") if part not in {b"", b"."}]
    if b".." in parts or not parts:
        raise InvalidArgument("path", "the path of a file in the workspace")
    return b"/".join(parts)
